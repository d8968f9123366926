public import KafkaDelivery

extension DeliveryHistory {
    /// Something that happened, who saw it, and when.
    public struct Record: Sendable, Hashable {
        /// What recorded it: a producer, one consumer of the group in its whole life, or an observer. A consumer that is
        /// made again has another name.
        public var process: String

        /// When it was recorded, in nanoseconds of the machine's monotonic clock.
        public var time: UInt64

        /// What happened.
        public var event: Event

        /// A record that is written by hand, for instance from another client's log.
        public init(process: String, time: UInt64, event: Event) {
            self.process = process
            self.time = time
            self.event = event
        }
    }

    /// Where a message is.
    public struct Position: Sendable, Hashable, Comparable, CustomStringConvertible {
        /// Its partition.
        public var partition: KafkaTopicPartition

        /// Its offset there.
        public var offset: Int64

        /// A message's position.
        public init(_ partition: KafkaTopicPartition, _ offset: Int64) {
            self.partition = partition
            self.offset = offset
        }

        /// By partition, then by offset.
        public static func < (left: Position, right: Position) -> Bool {
            (left.partition, left.offset) < (right.partition, right.offset)
        }

        /// As a delivery writes it: `orders [3] at 42`.
        public var description: String { "\(partition) at \(offset)" }
    }

    /// One time that a message was handed over.
    public struct Attempt: Sendable, Hashable {
        /// The message's position.
        public var position: Position

        /// In which period of owning the partition, see `KafkaConsumer.Delivery.generation`.
        public var generation: Int

        /// How many times it was handed over in this generation, from 1.
        public var attempt: Int

        /// One time that a message was handed over.
        public init(_ position: Position, generation: Int, attempt: Int) {
            self.position = position
            self.generation = generation
            self.attempt = attempt
        }
    }

    /// In which order a consumer's deliveries are recorded, and so which order the checker holds it to.
    public enum Order: String, Sendable, Hashable, Codable {
        /// One delivery of a partition after the other: `forEach` per partition, in batches, or a loop that finishes each.
        /// One that failed comes again before anything later of its partition.
        case partition
        /// One delivery of a key after the other: `forEach` per key. One that failed comes again before anything later of its
        /// key.
        case key
        /// As they are handed out, partition by partition, whenever they are finished: a loop that starts a task for each.
        case handOut
        /// None: `forEach` unordered.
        case none
    }

    /// What can happen.
    public enum Event: Sendable, Hashable {
        /// A send begins.
        case sending(value: String, key: String?)
        /// A send is confirmed. The position is nil where the broker did not say it.
        case sent(value: String, at: Position?)
        /// A send failed; whether the message may be stored all the same.
        case sendFailed(value: String, mayBeStored: Bool)
        /// A consumer was made. After how many attempts it gives a message up; nil where it never does.
        case joined(Order, maximumAttempts: Int?)
        /// A consumer was assigned partitions.
        case assigned([KafkaTopicPartition], generation: Int)
        /// A message was handed over.
        case delivered(Attempt, value: String, key: String?)
        /// A message is about to be acknowledged. Recorded before it is, so that no effect of it comes earlier.
        case acknowledged(Attempt)
        /// A message is about to be negatively acknowledged or given up.
        case failed(Attempt)
        /// The consumer says that a message was given up, and its dead letter is stored.
        case deadLettered(Position)
        /// Partitions were given back, with so many deliveries unsettled.
        case revoked([KafkaTopicPartition], unsettled: Int)
        /// Partitions were lost.
        case lost([KafkaTopicPartition])
        /// Offsets of these partitions could not be committed.
        case commitFailed([KafkaTopicPartition])
        /// An observer read what the group has committed: the offset of the message to be read next.
        case committed(KafkaTopicPartition, offset: Int64)
        /// An observer read a message from the log.
        case stored(Position, value: String, key: String?)
        /// An observer read a dead letter from its topic.
        case deadLetter(of: Position, at: Position, value: String)
        /// A message was handed to a transformation, whose output counts once its transaction is committed.
        case transforming(Attempt, value: String, key: String?)
        /// An observer read, as a reader of committed messages does, what was made of a message.
        case output(of: Position, at: Position, value: String)
    }
}
