internal import KafkaDelivery

/// A history, arranged by message, by run and by partition: what the checks look things up in.
struct HistoryIndex {
    typealias Position = DeliveryHistory.Position
    typealias Anomaly = DeliveryHistory.Anomaly
    typealias Time = UInt64

    /// What is known of one offset of one partition.
    struct Message {
        var values: Set<String> = []
        var key: String?
        var isDelivered = false
        var isStored = false
        /// When a member was first about to acknowledge it.
        var acknowledged: Time?
        /// When a member first failed to handle it, and first gave it up.
        var failed: Time?
        var givenUp: Time?
        var hasDeadLetter = false
        /// Whether its output was made, committed or not.
        var isTransformed = false
        /// Where its committed outputs are.
        var outputs: [Position] = []

        /// From when nothing more has to happen to it; nil where something has.
        var settled: Time? {
            // An error that is not worth a retry gives up before the last attempt.
            let buried = hasDeadLetter ? givenUp ?? failed : nil
            return [acknowledged, buried].compactMap(\.self).min()
        }
    }

    struct Process {
        var order = DeliveryHistory.Order.none
        var maximumAttempts: Int?
        /// When its consumer was made.
        var joined: Time?
    }

    /// One consumer's owning one partition in one generation.
    struct Ownership: Hashable {
        let process: String
        let partition: KafkaTopicPartition
        let generation: Int
    }

    /// What one run of deliveries did, in order.
    struct Step {
        let time: Time
        let offset: Int64
        let attempt: Int
        let isFailure: Bool
    }

    /// The deliveries that have to keep their order among each other.
    struct Run: Hashable {
        let ownership: Ownership
        /// With ``DeliveryHistory/Order/key``.
        var key: String?
        /// With ``DeliveryHistory/Order/none``, and for messages without a key.
        var offset: Int64?
    }

    let records: [DeliveryHistory.Record]
    private(set) var messages: [Position: Message] = [:]
    /// The known offsets of each partition, ascending.
    private(set) var offsets: [KafkaTopicPartition: [Int64]] = [:]
    private(set) var processes: [String: Process] = [:]
    private(set) var runs: [Run: [Step]] = [:]
    /// Where each value was seen.
    private(set) var positions: [String: Set<Position>] = [:]
    private(set) var keys: [String: String] = [:]
    private(set) var deliveredValues: Set<String> = []
    /// Whether messages are transformed: then an output is what settles them.
    private(set) var hasOutputs = false

    init(_ history: DeliveryHistory) {
        records = history.records
        for record in records { add(record) }
        for record in records {
            // When all messages are known. One that names a message which is not known is found by its own check.
            if case .output(let original, let position, _) = record.event {
                messages[original]?.outputs.append(position)
            }
        }
        for position in messages.keys { offsets[position.partition, default: []].append(position.offset) }
        for partition in offsets.keys { offsets[partition]?.sort() }
        for (position, message) in messages where message.key == nil {
            messages[position]?.key = message.values.first.flatMap { keys[$0] }
        }
    }

    private mutating func add(_ record: DeliveryHistory.Record) {
        switch record.event {
        case .joined(let order, let maximumAttempts):
            processes[record.process] = Process(order: order, maximumAttempts: maximumAttempts, joined: record.time)
        case .sending(let value, let key):
            keys[value] = key
        case .sent(let value, let position):
            if let position { note(position, value) { _ in } }
        case .stored(let position, let value, let key):
            note(position, value) { message in
                message.isStored = true
                message.key = key
            }
        case .delivered(let attempt, let value, let key):
            deliveredValues.insert(value)
            note(attempt.position, value) { message in
                message.isDelivered = true
                message.key = key
            }
            addStep(record, attempt, isFailure: false)
        case .transforming(let attempt, let value, let key):
            hasOutputs = true
            deliveredValues.insert(value)
            note(attempt.position, value) { message in
                message.isDelivered = true
                message.isTransformed = true
                message.key = key
            }
        case .output:
            hasOutputs = true
        case .acknowledged(let attempt):
            messages[attempt.position, default: Message()].acknowledged.noteFirst(record.time)
        case .failed(let attempt):
            let maximum = processes[record.process]?.maximumAttempts
            messages[attempt.position, default: Message()].failed.noteFirst(record.time)
            if let maximum, attempt.attempt >= maximum {
                messages[attempt.position]?.givenUp.noteFirst(record.time)
            }
            addStep(record, attempt, isFailure: true)
        case .deadLetter(let original, _, _):
            // One that names a message which is not known is found by its own check.
            messages[original]?.hasDeadLetter = true
        case .sendFailed, .assigned, .deadLettered, .revoked, .lost, .commitFailed, .committed:
            break
        }
    }

    private mutating func note(_ position: Position, _ value: String, _ change: (inout Message) -> Void) {
        messages[position, default: Message()].values.insert(value)
        change(&messages[position, default: Message()])
        positions[value, default: []].insert(position)
    }

    private mutating func addStep(_ record: DeliveryHistory.Record, _ attempt: DeliveryHistory.Attempt, isFailure: Bool)
    {
        let position = attempt.position
        var run = Run(ownership: Ownership(record.process, attempt))
        switch processes[record.process]?.order ?? .none {
        case .partition, .handOut: break
        case .key:
            run.key = messages[position]?.key
            if run.key == nil { run.offset = position.offset }
        case .none: run.offset = position.offset
        }
        let step = Step(
            time: record.time,
            offset: position.offset,
            attempt: attempt.attempt,
            isFailure: isFailure
        )
        runs[run, default: []].append(step)
    }

    /// The known messages of a partition with offsets in a range.
    func known(_ partition: KafkaTopicPartition, in range: Range<Int64>) -> [(Position, Message)] {
        guard let all = offsets[partition] else { return [] }
        return all[all.firstIndex(notBefore: range.lowerBound)..<all.firstIndex(notBefore: range.upperBound)]
            .compactMap { offset in
                let position = Position(partition, offset)
                return messages[position].map { (position, $0) }
            }
    }

    func order(of process: String) -> DeliveryHistory.Order { processes[process]?.order ?? .none }
}

extension HistoryIndex.Ownership {
    init(_ process: String, _ attempt: DeliveryHistory.Attempt) {
        self.init(process: process, partition: attempt.position.partition, generation: attempt.generation)
    }
}

extension HistoryIndex.Ownership: CustomStringConvertible {
    var description: String { "\(process) in its generation \(generation)" }
}

extension Optional<HistoryIndex.Time> {
    fileprivate mutating func noteFirst(_ time: Wrapped) {
        self = self.map { Swift.min($0, time) } ?? time
    }
}

extension [Int64] {
    /// In an ascending array: where the first element is that is not less.
    fileprivate func firstIndex(notBefore value: Int64) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < value { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
