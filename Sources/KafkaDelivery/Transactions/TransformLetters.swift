internal import Logging

/// A dead letter that its transaction was aborted for.
struct RefusedLetter: Error {
    let position: TransformLoop.Position
    let letter: KafkaMessage
    let error: KafkaError
}

/// What a ``TransformLoop`` has given up and not yet committed: its dead letters, with what they can do without left out where
/// they are refused with it, and what becomes of those that can never be stored.
struct TransformLetters {
    typealias Position = TransformLoop.Position

    enum Prepared {
        case letter(KafkaMessage)
        /// The application has stored it elsewhere.
        case handedOver
        /// It can never be stored, and is looked at again after a while.
        case held(Duration)
    }

    private struct Entry {
        let copy: MessageCopy
        /// Keeps its identity from being another's.
        let source: any DeliverySource
        var shedding = MessageCopy.Shedding.nothing
        /// Why it can never be stored.
        var refusal: KafkaError?
        var isCalledUnstorable = false
        var isHandedOver = false
        /// How often it was held.
        var holds = 0

        /// What is to be sent of it.
        var letter: KafkaMessage { copy.message(without: shedding) }
    }

    /// What the brokers did not take.
    private struct Limit {
        var bytes: Int
        var error: KafkaError
    }

    private let core: ConsumerCore
    private let topicName: @Sendable (String) -> String
    private let onRefusal: KafkaDeadLetters.Refusal
    private var entries: [Position: Entry] = [:]
    /// Whether the brokers count other bytes than ``KafkaMessage/wireSize`` does.
    private let isCompressed: Bool
    /// The smallest letters that were too large for their topics: each that is refused costs its transaction, so what is as
    /// large is not sent. Compressed it may fit all the same: then it only does without what it can do without. And a letter
    /// that was held tries again, for a limit may have been raised.
    private var limits: [String: Limit] = [:]
    /// Between attempts at handing it over.
    private static let storeBackoff = KafkaRetryPolicy.exponential(
        initial: .milliseconds(200),
        maximum: .seconds(10),
        maximumAttempts: nil
    )
    /// Between attempts at storing it, each of which may cost the others in its batch their transaction.
    private static let holdBackoff = KafkaRetryPolicy.exponential(
        initial: .seconds(5),
        maximum: .seconds(60),
        maximumAttempts: nil
    )

    init(
        core: ConsumerCore,
        topicName: @escaping @Sendable (String) -> String,
        onRefusal: KafkaDeadLetters.Refusal,
        isCompressed: Bool
    ) {
        self.core = core
        self.topicName = topicName
        self.onRefusal = onRefusal
        self.isCompressed = isCompressed
    }

    /// Whether a message was given up.
    func has(_ position: Position) -> Bool { entries[position] != nil }

    /// Gives a message up.
    mutating func add(_ delivery: KafkaConsumer.Delivery, attempts: Int, _ error: any Error) {
        let content = delivery.message
        var origin = MessageOrigin(delivery)
        // Its attempts count too how often it was part of a batch that was undone for another's sake.
        origin.attempts = attempts
        let letter = KafkaDeadLetter(
            origin,
            content.headers,
            group: core.configuration.group,
            error: error,
            topicName: topicName
        )
        // In a transaction a partition that does not exist could not be taken back.
        let copy = MessageCopy(letter, of: content, to: topicName(delivery.topic), partition: nil)
        entries[Position(delivery)] = Entry(copy: copy, source: delivery.deliverySource)
    }

    /// What to send for a message that was given up; or what became of it instead.
    mutating func prepare(_ delivery: KafkaConsumer.Delivery, maximumBytes: Int) async -> Prepared {
        let position = Position(delivery)
        guard var entry = entries[position] else { return .held(.zero) }
        defer { entries[position] = entry }
        if entry.isHandedOver { return .handedOver }
        // Asked before, so that a transaction is not aborted for what is known.
        while entry.refusal == nil {
            let letter = entry.letter
            var error = letter.refusal(maximumBytes: maximumBytes)
            if error == nil, entry.holds == 0, let limit = limits[letter.topic], letter.wireSize >= limit.bytes {
                if !isCompressed || entry.copy.next(after: entry.shedding) != nil { error = limit.error }
            }
            guard let error else { return .letter(letter) }
            Self.shed(&entry, error)
        }
        guard let error = entry.refusal else { return .held(.zero) }
        let letter = entry.letter
        if !entry.isCalledUnstorable { core.noteRefusal(of: letter, delivery, error, onRefusal) }
        entry.isCalledUnstorable = true
        if case .handOver(let store) = onRefusal {
            do {
                try await store(delivery, letter, error)
                entry.isHandedOver = true
                core.events.send(.handedOver(delivery.source))
                return .handedOver
            } catch {
                core.logger.warning(
                    "A message was not taken over, tried again",
                    metadata: ["kafka_delivery": "\(delivery)", "kafka_error": "\(error)"]
                )
            }
        }
        core.events.send(.deadLetterFailed(delivery.source, error))
        entry.holds += 1
        if case .handOver = onRefusal { return .held(Self.storeBackoff.delay(after: entry.holds)) }
        // A limit may be raised at any time: the next attempt begins with all headers.
        entry.refusal = nil
        entry.shedding = .nothing
        return .held(Self.holdBackoff.delay(after: entry.holds))
    }

    /// The brokers have refused a letter.
    mutating func noteRefusal(_ refused: RefusedLetter) {
        guard var entry = entries[refused.position] else { return }
        let (topic, bytes) = (refused.letter.topic, refused.letter.wireSize)
        if refused.error.kind == .messageTooLarge, bytes < limits[topic]?.bytes ?? .max {
            limits[topic] = Limit(bytes: bytes, error: refused.error)
        }
        Self.shed(&entry, refused.error)
        entries[refused.position] = entry
    }

    private static func shed(_ entry: inout Entry, _ error: KafkaError) {
        if let next = entry.copy.next(after: entry.shedding) {
            entry.shedding = next
        } else {
            entry.refusal = error
        }
    }

    /// What a transaction has committed.
    mutating func noteCommitted(_ position: Position) {
        guard !entries.isEmpty, let entry = entries.removeValue(forKey: position), !entry.isHandedOver else { return }
        let letter = entry.letter
        if let limit = limits[letter.topic], letter.wireSize >= limit.bytes { limits[letter.topic] = nil }
    }

    /// What went away with its partition is given up where that is now.
    mutating func removeEnded() {
        if !entries.isEmpty { entries = entries.filter { $0.value.source.isCurrent($0.key.sequence) } }
    }
}
