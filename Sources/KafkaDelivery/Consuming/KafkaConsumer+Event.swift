internal import Synchronization

extension KafkaConsumer {
    /// Something that happened to the consumer and that a service may want to know.
    public enum Event: Sendable {
        /// Which message it happened to.
        public struct Source: Sendable, Hashable {
            /// Its partition.
            public let partition: KafkaTopicPartition
            /// Its offset there.
            public let offset: Int64
        }

        /// Partitions were assigned, in a new generation.
        case assigned([KafkaTopicPartition], generation: Int)
        /// Partitions were given back, after what was acknowledged had been committed. Where that could not be done in time,
        /// ``commitFailed(_:_:)`` with `timedOut` comes before it.
        case revoked([KafkaTopicPartition], unsettled: Int)
        /// Partitions went to another member before anything could be done: what was acknowledged and not yet committed
        /// is delivered again there.
        case lost([KafkaTopicPartition], unsettled: Int)
        /// Everything that a partition held was handed out: the consumer has read to its end. Said once each time the end
        /// is reached, of an empty partition too (librdkafka's `_PARTITION_EOF`).
        case caughtUp(KafkaTopicPartition, generation: Int)
        /// Offsets could not be committed. Where the partition is still ours, it is tried again.
        case commitFailed([KafkaTopicPartition], KafkaError)
        /// Handling a message failed, and it is handed over again after a while.
        case redelivery(Source, attempt: Int, after: Duration)
        /// A message was given up; its dead letter is stored.
        case deadLettered(Source, KafkaDeliveryReport)
        /// A message was given up, its dead letter could not be published, and that is tried again.
        case deadLetterFailed(Source, KafkaError)
        /// So many processes began at the same offset and died that the message which kills them is looked for: the consumer
        /// hands out one message at a time meanwhile. See ``KafkaDeadLetters/maximumStarts``.
        case startsExceeded(KafkaTopicPartition, starts: Int)
        /// A delivery was acknowledged after it had been negatively acknowledged, or the other way round. The first verdict
        /// counts.
        case contradictingVerdict(Source)
        /// Something else failed, and the consumer goes on: a topic that does not exist, a broker that is away.
        case problem(KafkaError, KafkaTopicPartition?)
    }

    /// What happens to the consumer, from now on.
    ///
    /// Each call begins a sequence of its own. One that is not read keeps the latest 256 events and lets go of older
    /// ones. It ends when the consumer is closed.
    public struct Events: AsyncSequence, Sendable {
        /// An event.
        public typealias Element = Event

        let stream: AsyncStream<Event>

        /// Reads the events.
        public func makeAsyncIterator() -> AsyncStream<Event>.Iterator {
            stream.makeAsyncIterator()
        }
    }
}

/// Passes events on to everybody who listens.
final class EventHub: Sendable {
    private struct State {
        var listeners: [UInt64: AsyncStream<KafkaConsumer.Event>.Continuation] = [:]
        var isFinished = false
    }

    // Listeners come and go on any task, events come from the consumer's thread and from readers.
    private let state = Mutex(State())

    func listen() -> KafkaConsumer.Events {
        let (stream, continuation) = AsyncStream.makeStream(
            of: KafkaConsumer.Event.self,
            bufferingPolicy: .bufferingNewest(256)
        )
        let id = WaiterID.next()
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.listeners.removeValue(forKey: id) }
        }
        let isFinished = state.withLock { state in
            if !state.isFinished { state.listeners[id] = continuation }
            return state.isFinished
        }
        if isFinished { continuation.finish() }
        return KafkaConsumer.Events(stream: stream)
    }

    func send(_ event: KafkaConsumer.Event) {
        for listener in state.withLock({ Array($0.listeners.values) }) { listener.yield(event) }
    }

    func finish() {
        let listeners = state.withLock { state in
            state.isFinished = true
            defer { state.listeners = [:] }
            return Array(state.listeners.values)
        }
        for listener in listeners { listener.finish() }
    }
}
