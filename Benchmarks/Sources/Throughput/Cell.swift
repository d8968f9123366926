/// One measurement of the table: a scenario with its sizes. Library and bare loop do exactly what it says.
struct Cell: Codable, Sendable {
    /// What is done with the messages.
    enum Shape: Codable, Sendable, Equatable {
        /// So many tasks, each awaiting one send after the other. The bare loop keeps as many under way.
        case send(tasks: Int)
        /// One task, with at most so many sends that it has not awaited yet.
        case enqueue(window: Int)
        /// `send(contentsOf:)`.
        case batches(of: Int)
        case receive(Loop)
        /// Sent and received in the same process at a steady rate.
        case endToEnd(perSecond: Int)
        /// Transactions of so many messages, one after the other.
        case transactions(of: Int)
        /// Sent and received in the same process as fast as it goes, watching the memory.
        case passThrough
        /// A consumer that asks for one message and then for no more, watching the memory.
        case standStill(seconds: Int)
    }

    /// How the library's side of receiving is written. The bare loop is always the same.
    enum Loop: String, Codable, Sendable {
        case deliveries
        case mainActor
        case perPartition
        case perKey
        /// One in a hundred is negatively acknowledged once.
        case negative
    }

    /// What the table of figures calls for, where it names this measurement.
    struct Target: Codable, Sendable {
        /// Library's rate by the bare loop's, at least.
        var rate: Double?
        /// Library's rate by that of the same work without Kafka, at least.
        var ofIdeal: Double?
        /// Library's processor time by the bare loop's, at most.
        var processor: Double?
        /// Library's 99th percentile by the bare loop's, at most.
        var p99: Double?
        /// The longest gap in seconds, at most.
        var gap: Double?
    }

    /// The number in the list of scenarios, 1 to 13.
    var scenario: Int
    var title: String
    var shape: Shape
    /// Bytes of a value; keys have 8 more.
    var size = 100
    var headers = 0
    var partitions = 6
    var topics = 1
    /// How many messages a round has. For receiving: how many lie in the topic.
    var count: Int
    /// Nanoseconds of work on each message.
    var work = 0
    /// Messages of a partition that are fetched ahead, where it is not the library's default.
    var prefetch: Int?
    /// At most so many seconds of a round, for what is slower than the messages last.
    var seconds: Double?
    /// Whether the library's tasks run on the producer's thread.
    var onExecutor = false
    var target = Target()

    /// Unique in the catalogue, and what `--scenario` looks at.
    var name: String {
        let shapeName =
            switch shape {
            case .send(let tasks): "send-\(tasks)"
            case .enqueue: "enqueue"
            case .batches(let size): "batches-\(size)"
            case .receive(let loop): "receive-\(loop.rawValue)"
            case .endToEnd: "end-to-end"
            case .transactions(let size): "transactions-\(size)"
            case .passThrough: "pass-through"
            case .standStill: "stand-still"
            }
        var name = "\(scenario)/\(shapeName)/\(size)B/\(headers)h"
        if work > 0 { name += "/\(work / 1000)us" }
        if let prefetch { name += "/prefetch-\(prefetch)" }
        if onExecutor { name += "/executor" }
        if scenario == 12 { name += "/\(topics)t/\(partitions)p" }
        return name
    }

    /// Whether the messages have to be there before anybody asks for them.
    var needsFilledTopic: Bool {
        switch shape {
        case .receive, .standStill: true
        default: false
        }
    }

    /// Whether a worker waits seconds for a group to form before it can begin.
    var needsGroup: Bool {
        switch shape {
        case .receive, .standStill, .endToEnd, .passThrough: true
        default: false
        }
    }

    /// Whether anything happens in a round.
    var isBusy: Bool {
        if case .standStill = shape { false } else { true }
    }

    /// How many messages of an end to end round come before those whose time counts: after a pause librdkafka's threads may
    /// take up to a second to notice the first.
    var uncounted: Int { count / 3 }

    /// Receiving is measured from this message on: what was fetched before the round began is not part of it.
    var untimed: Int {
        min(count / 4, partitions * (prefetch ?? 10_000))
    }

    /// … and up to this one: at the very end a few partitions are left, and the rest stand still.
    var last: Int {
        count - count / 20
    }

    /// About how many bytes of a mock cluster's memory a message takes.
    var storedSize: Int {
        size + 8 + 14 + headers * 28
    }

    /// A mock cluster keeps 5 MiB of a partition and forgets what is older: no more messages than fit.
    func fittingMock() -> Cell {
        var cell = self
        if needsFilledTopic {
            cell.count = min(count, partitions * ((9 << 20) / 2 / storedSize))
        }
        return cell
    }
}

/// Who does it.
enum Side: String, Codable, Sendable, CaseIterable {
    case library
    case bare
}
