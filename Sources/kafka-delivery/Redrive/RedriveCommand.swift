import ArgumentParser
import KafkaDelivery
import ToolSupport

struct RedriveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redrive",
        abstract: "Sends dead letters again, to where they came from; with --dry-run lists them.",
        discussion: """
            A dead letter counts as redriven once the brokers have confirmed its replay, and is then not redriven \
            again: the group TOPIC-redrive remembers each. What the filters leave stays for a later run, and so does \
            what the producer or the brokers refuse (too large, no such topic), with the reason; the others go on. A \
            run ends where the topic ended when it began.

              kafka-delivery redrive orders-dlt --dry-run
              kafka-delivery redrive orders-dlt --error CardDeclined --since 2025-11-23 --rate 50
              kafka-delivery redrive orders-dlt --partition 3 --offset 17-42 --to orders-again
              kafka-delivery redrive orders-dlt --dry-run --json | jq .error

            All filters have to hold. A replay is the original message with its key, value and headers; without the \
            headers that made it a dead letter, and with kafka_delivery-redrive-count. Its key decides the partition; \
            without one it goes to the partition it came from. Its time is that of its sending, from which retention \
            counts; the original's is in kafka_delivery-original-timestamp, and is what --since and --until look at.

            SIGINT and SIGTERM end it in good order: what was confirmed is remembered, the rest stays. A second \
            signal ends the process at once; the next run then repeats what was sent in the last second.

            Exit status: 0 when everything selected was redriven, or listed; 1 when something selected was not, with \
            the reason on standard error; 64 when the command line is wrong; 130 or 143 when a signal ended it.
            """
    )

    @OptionGroup(title: "Cluster")
    var cluster: ClusterOptions

    @Argument(help: "The dead-letter topic.")
    var topic: String

    @Flag(name: [.customShort("n"), .long], help: "List what would be redriven; send and remember nothing.")
    var dryRun = false

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Only where the error's type or message contains this, letter for letter.",
            valueName: "text"
        )
    )
    var error: String?

    @Option(
        name: [.customShort("H"), .long],
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "Only with this header; without = its value has to be null. Can be repeated.",
            valueName: "name=value"
        )
    )
    var header: [String] = []

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Only messages that were made at this time or later, such as 2025-11-23T08:00:00+01:00.",
            valueName: "time"
        )
    )
    var since: Time?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Only messages that were made before this time.", valueName: "time")
    )
    var until: Time?

    @Option(parsing: .unconditionalSingleValue, help: "Only this partition of the dead-letter topic. Can be repeated.")
    var partition: [Int] = []

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Only these offsets in the dead-letter topic: 17, 17-42 or 17-.", valueName: "range")
    )
    var offset: OffsetRange?

    @Option(help: ArgumentHelp("Send to this topic. Otherwise to the one each came from.", valueName: "topic"))
    var to: String?

    @Option(parsing: .unconditional, help: ArgumentHelp("Send at most so many in a second.", valueName: "number"))
    var rate: Double?

    @Option(parsing: .unconditional, help: ArgumentHelp("Send at most so many in all.", valueName: "number"))
    var maximum: Int?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Leave what was redriven this often already, so that nothing goes round.",
            valueName: "number"
        )
    )
    var maximumRedrives: Int = 3

    @Flag(
        help: """
            Give replays the time of the original. A topic whose retention is shorter than they are old may then \
            delete them before they are read.
            """
    )
    var originalTimestamps = false

    @Option(
        name: .shortAndLong,
        help: "The group that remembers what was redriven. Default: TOPIC-redrive."
    )
    var group: String?

    @Flag(help: "Write one JSON object a line in place of the table.")
    var json = false

    /// The argument of `--since` and `--until`.
    struct Time: ExpressibleByArgument, Equatable {
        let timestamp: KafkaTimestamp

        init?(argument: String) {
            guard let milliseconds = ISO8601.milliseconds(argument) else { return nil }
            self.timestamp = KafkaTimestamp(millisecondsSince1970: milliseconds)
        }
    }

    /// The argument of `--offset`: both ends belong to it.
    struct OffsetRange: ExpressibleByArgument, Equatable {
        let range: Range<Int64>

        init?(argument: String) {
            let ends = argument.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
            guard let first = ends.first.flatMap({ Int64($0) }), first >= 0, first < .max else { return nil }
            guard ends.count == 2 else {
                self.range = first..<first + 1
                return
            }
            guard !ends[1].isEmpty else {
                self.range = first..<Int64.max
                return
            }
            guard let last = Int64(ends[1]), last >= first, last < .max else { return nil }
            self.range = first..<last + 1
        }
    }

    func validate() throws {
        guard !topic.isEmpty, !topic.hasPrefix("^") else { throw ValidationError("One topic is needed.") }
        if let to, to.isEmpty || to == topic {
            throw ValidationError("--to \(to): a topic other than the dead letters' own is needed.")
        }
        if let rate, !(rate > 0 && rate.isFinite) { throw ValidationError("--rate \(rate): more than 0 is needed.") }
        if let maximum, maximum < 1 { throw ValidationError("--maximum \(maximum): 1 or more are possible.") }
        guard maximumRedrives >= 1 else {
            throw ValidationError("--maximum-redrives \(maximumRedrives): 1 or more are possible.")
        }
        if let wrong = partition.first(where: { !(0...Int(Int32.max)).contains($0) }) {
            throw ValidationError("--partition \(wrong): partitions are numbered from 0.")
        }
        if let group, group.isEmpty { throw ValidationError("The group's name is empty.") }
        if let since, let until, until.timestamp <= since.timestamp {
            throw ValidationError("--until is not after --since.")
        }
        if let error, error.isEmpty { throw ValidationError("--error is empty: leave it out to take every error.") }
    }

    /// The settings of the redrive and of the producer it sends with.
    func configurations() throws(ToolFailure) -> (KafkaRedrive.Configuration, KafkaProducer.Configuration) {
        let servers = try cluster.servers()
        var redrive = KafkaRedrive.Configuration(bootstrapServers: servers, topic: topic)
        if let group { redrive.group = group }
        redrive.filter.error = error
        redrive.filter.headers = header.map { header in
            guard let equals = header.firstIndex(of: "=") else { return KafkaHeader(header, nil) }
            return KafkaHeader(String(header[..<equals]), String(header[header.index(after: equals)...]))
        }
        redrive.filter.since = since?.timestamp
        redrive.filter.until = until?.timestamp
        redrive.filter.partitions = partition.isEmpty ? nil : Set(partition)
        redrive.filter.offsets = offset?.range
        redrive.destination = to
        redrive.maximumRate = rate
        redrive.maximumCount = maximum
        redrive.maximumRedrives = maximumRedrives
        redrive.timestamps = originalTimestamps ? .original : .redriven
        var producer = KafkaProducer.Configuration(bootstrapServers: servers)
        producer.messageTimeout = .seconds(60)
        // What was to be waited for is waited for before.
        producer.closeTimeout = .seconds(1)
        for property in cluster.client.properties { try apply(property, to: &redrive, &producer) }
        return (redrive, producer)
    }

    /// A property with a setting of its own goes to that, and any other to both clients.
    private func apply(
        _ property: Property,
        to redrive: inout KafkaRedrive.Configuration,
        _ producer: inout KafkaProducer.Configuration
    ) throws(ToolFailure) {
        switch property.name {
        case "client.id":
            redrive.clientID = property.value
            producer.clientID = property.value
        case "session.timeout.ms": redrive.sessionTimeout = try property.milliseconds()
        case "heartbeat.interval.ms": redrive.heartbeatInterval = try property.milliseconds()
        case "group.id": throw property.refused(inFavourOf: "--group")
        case "message.timeout.ms", "delivery.timeout.ms":
            producer.messageTimeout = .milliseconds(try property.integer())
        case "linger.ms", "queue.buffering.max.ms", "enable.idempotence", "acks", "request.required.acks":
            throw ToolFailure("-X \(property.name): a redrive sees to that itself", status: 64)
        default:
            if try producer.take(property) { return }
            redrive.additionalProperties[property.name] = property.value
            // What only concerns consumers is no producer's business, and librdkafka would say so at length.
            if !Self.isConsumers(property.name) { producer.additionalProperties[property.name] = property.value }
        }
    }

    private static func isConsumers(_ name: String) -> Bool {
        ["max.poll.", "fetch.", "group.", "check."].contains { name.hasPrefix($0) }
    }

    func run() async throws {
        let (redrive, producer) = try configurations()
        let job = RedriveJob(
            isDry: dryRun,
            isJSON: json,
            configuration: redrive,
            producer: producer,
            mayShowProgress: StandardError.isTerminal && !cluster.client.writesLog,
            logger: cluster.client.logger
        )
        try await job.run()
    }
}
