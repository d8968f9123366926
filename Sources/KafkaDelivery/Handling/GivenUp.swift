internal import Synchronization

/// A delivery whose handling has failed for good, or for now, on its way to the dead letters or to a retry topic. A value
/// without threads.
struct GivenUp: Sendable {
    enum Destination: Sendable {
        case retryTopic(String, delay: Duration)
        case deadLetters
    }

    /// Why.
    let error: any Error
    let origin: MessageOrigin
    var destination: Destination
    /// How many times in a row its copy could not be published.
    private(set) var failures = 0
    /// Whether it was said that its dead letter can never be stored. Once is enough.
    var isCalledUnstorable = false
    /// Whether it was said that the producer of its copy is done.
    var isProducerCalledDone = false

    private static let backoff = KafkaRetryPolicy.exponential(
        initial: .milliseconds(200),
        maximum: .seconds(10),
        maximumAttempts: nil
    )

    init(_ error: any Error, _ origin: MessageOrigin, to destination: Destination) {
        self.error = error
        self.origin = origin
        self.destination = destination
    }

    /// Its copy could not be published.
    ///
    /// - Returns: How long to wait before that is tried again. A broker that refuses gives no sign when it will not any more,
    ///   and a limit may be raised at any time.
    mutating func noteFailure() -> Duration {
        failures += 1
        return Self.backoff.delay(after: failures)
    }
}

/// Deliveries that were given up, whose copies could not be published: each is handed out again after a while, and its handler
/// not called again.
final class GivenUpDeliveries: Sendable {
    private struct Place: Hashable {
        let reader: ObjectIdentifier
        let sequence: OffsetTracker.Sequence

        init(_ delivery: KafkaConsumer.Delivery) {
            reader = ObjectIdentifier(delivery.message.reader)
            sequence = delivery.message.sequence
        }
    }

    private struct Entry {
        let givenUp: GivenUp
        /// Keeps its identity from being another's.
        let reader: PartitionReader
    }

    private struct State {
        var entries: [Place: Entry] = [:]
        /// At how many entries those of partitions that went away are looked for.
        var limit = 64
    }

    // Handlers' tasks meet here.
    private let state = Mutex(State())
    // Looked at for each delivery, without the lock: there is hardly ever one.
    private let count = Atomic(0)

    func contains(_ delivery: KafkaConsumer.Delivery) -> Bool {
        guard count.load(ordering: .acquiring) > 0 else { return false }
        return state.withLock { $0.entries[Place(delivery)] != nil }
    }

    /// Notes one before it is handed out again.
    func put(_ givenUp: GivenUp, _ delivery: KafkaConsumer.Delivery) {
        let isReading = delivery.message.reader.isReading
        guard isReading else { return }
        let crowd = state.withLock { state -> [Place: Entry] in
            state.entries[Place(delivery)] = Entry(givenUp: givenUp, reader: delivery.message.reader)
            count.store(state.entries.count, ordering: .releasing)
            return state.entries.count >= state.limit ? state.entries : [:]
        }
        if !crowd.isEmpty { removeEnded(crowd) }
    }

    /// Takes one that is handed out again.
    func take(_ delivery: KafkaConsumer.Delivery) -> GivenUp? {
        guard count.load(ordering: .acquiring) > 0 else { return nil }
        return state.withLock { state in
            defer { count.store(state.entries.count, ordering: .releasing) }
            return state.entries.removeValue(forKey: Place(delivery))?.givenUp
        }
    }

    /// What went away with its partition is never handed out here again.
    private func removeEnded(_ crowd: [Place: Entry]) {
        // Readers have locks of their own, so this lock is not held.
        let ended = crowd.filter { !$0.value.reader.isCurrent($0.key.sequence) }.keys
        state.withLock { state in
            for place in ended { state.entries[place] = nil }
            state.limit = max(64, 2 * state.entries.count)
            count.store(state.entries.count, ordering: .releasing)
        }
    }
}
