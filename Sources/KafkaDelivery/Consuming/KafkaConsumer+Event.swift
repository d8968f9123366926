internal import ServiceLifecycle

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
        /// Partitions went before these acknowledgements of theirs were committed, so many for each: their messages are
        /// delivered again, to the next owner. Said before ``lost(_:unsettled:)`` or ``revoked(_:unsettled:)``, and on closing
        /// (``KafkaCloseSummary/uncommitted``).
        case uncommitted([KafkaTopicPartition: Int])
        /// Partitions went to another member before anything could be done: what was acknowledged and not yet committed
        /// is delivered again there, see ``uncommitted(_:)``. That the session has run out (``KafkaConsumer/Configuration/sessionTimeout`` without an
        /// answer from the coordinator) the consumer finds by its own clock, also where no broker can be reached; until
        /// then it hands out what was fetched.
        case lost([KafkaTopicPartition], unsettled: Int)
        /// Everything that a partition held was handed out: the consumer has read to its end. Said once each time the end
        /// is reached, of an empty partition too (librdkafka's `_PARTITION_EOF`).
        case caughtUp(KafkaTopicPartition, generation: Int)
        /// The offset that was to be read next is not in the partition: retention has deleted it, also while the group was
        /// away; the log was cut (an unclean leader election); or the topic was deleted and made anew. The consumer goes on
        /// where ``Configuration/autoOffsetReset`` says. Where the messages that come then have offsets that were seen before,
        /// they are handed out all the same, and smaller offsets are committed than before. librdkafka says so in its log
        /// (`offset reset`). A topic that was made anew and holds as many messages already when the brokers are asked next
        /// cannot be told from the old one, in Kafka's protocol as librdkafka speaks it.
        case offsetReset(KafkaTopicPartition, from: Int64)
        /// The application has held a delivery for longer than ``Configuration/handlerTimeout``, and for about how
        /// long. Said once for each attempt.
        case stuck(Source, for: Duration)
        /// ``Configuration/startingOffset`` threw: the partition is not read, and asked about again after a while.
        case startingOffsetFailed(KafkaTopicPartition, any Error, retryAfter: Duration)
        /// Offsets could not be committed. Where the partition is still ours, it is tried again.
        case commitFailed([KafkaTopicPartition], KafkaError)
        /// Handling a message failed, and it is handed over again after a while, as which attempt: where it is, or, where there is
        /// a report, from the retry topic in which it is stored.
        case retried(Source, attempt: Int, after: Duration, retryTopic: KafkaDeliveryReport? = nil)
        /// Handling a message failed, its copy could not be published to a retry topic, and that is tried again.
        case retryFailed(Source, KafkaError)
        /// A message was given up; its dead letter is stored.
        case deadLettered(Source, KafkaDeliveryReport)
        /// A message was given up, its dead letter could not be published, and that is tried again.
        case deadLetterFailed(Source, KafkaError)
        /// A message was given up, and its dead letter can never be stored: it is too large for the producer or for the topic,
        /// for instance. It holds back what comes after it, or the application stores it elsewhere, as
        /// ``KafkaDeadLetters/onRefusal`` says. Said once for each message in a generation.
        case deadLetterRefused(Source, KafkaError)
        /// A message was given up, its dead letter can never be stored, and the application has stored it elsewhere.
        case handedOver(Source)
        /// So many processes began at the same offset and died that the message which kills them is looked for: the consumer
        /// hands out one message at a time meanwhile. See ``Configuration/maximumCrashes``.
        case crashesExceeded(KafkaTopicPartition, crashes: Int)
        /// A delivery was acknowledged after it had been negatively acknowledged, or the other way round. The first verdict
        /// counts.
        case contradictingVerdict(Source)
        /// Something else failed, and the consumer goes on: a topic that does not exist, a broker that is away.
        case problem(KafkaError, KafkaTopicPartition?)
    }

    /// What happens to the consumer, from now on.
    ///
    /// Each call begins a sequence of its own. One that is not read keeps the latest events, 256 and four for each
    /// partition that is assigned, and lets go of older ones. It ends when the consumer is closed, and in a service of a
    /// `ServiceGroup` when that is shut down.
    public struct Events: AsyncSequence, Sendable {
        /// An event.
        public typealias Element = Event

        let listener: EventListener

        /// Reads the events. Iterators of one sequence share what there is.
        public func makeAsyncIterator() -> Iterator {
            Iterator(listener: listener)
        }

        /// Reads events.
        public struct Iterator: AsyncIteratorProtocol {
            let listener: EventListener
            /// How many are still read of what there was when the service was shut down.
            private var rest: Int?

            init(listener: EventListener) {
                self.listener = listener
            }

            /// The next event; nil when the consumer is closed or the task's service shut down, and all that were there are
            /// read, or the task cancelled.
            public mutating func next() async -> Event? {
                await next(isolation: #isolation)
            }

            /// The next event; nil when the consumer is closed or the task's service shut down, and all that were there are
            /// read, or the task cancelled.
            public mutating func next(isolation: isolated (any Actor)?) async -> Event? {
                if Task.isShuttingDownGracefully {
                    // Events may come as long as the consumer works, which is shut down later.
                    let left = rest ?? listener.count
                    guard left > 0 else { return nil }
                    rest = left - 1
                }
                return await listener.next()
            }
        }
    }
}
