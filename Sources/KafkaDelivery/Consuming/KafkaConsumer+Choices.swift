/// What the settings of a consumer choose from.
extension KafkaConsumer.Configuration {
    /// Where a partition starts for which the group has committed nothing, or something that is no longer there
    /// (`auto.offset.reset`).
    public enum AutoOffsetReset: String, Sendable {
        /// The oldest message there is: nothing is missed.
        case beginning = "earliest"
        /// What is sent from now on.
        case end = "latest"
        /// Nowhere: the consumer fails with ``KafkaError/Kind/offsetOutOfRange``.
        case failure = "error"
    }

    /// Where a partition starts when this consumer is assigned it for the first time.
    public enum Start: Sendable, Hashable {
        /// Where the group has committed.
        case committed
        /// At the oldest message there is.
        case beginning
        /// At what is sent from now on.
        case end
        /// At an offset. A partition that ends before it starts at its end, one that begins behind it at its beginning, and
        /// ``KafkaConsumer/Event/problem(_:_:)`` with `offsetOutOfRange` says so for each; with ``AutoOffsetReset/failure``
        /// the consumer fails.
        case offset(Int64)
        /// So many offsets before the end, 0 or more: at the last messages that there are. Control records of transactions
        /// and compaction leave gaps in offsets, so there may be fewer messages.
        case last(Int64)
        /// At the first message that is not older.
        case timestamp(KafkaTimestamp)
    }

    /// Which protocol a group speaks (`group.protocol`). All members of a group should speak the same; a running group
    /// moves from one to the other by replacing its members one by one.
    public enum GroupProtocol: String, Sendable {
        /// A member divides the partitions (``assignmentStrategies``), and the group waits for its slowest member whenever
        /// one joins or leaves. Any Kafka and any librdkafka speak it.
        case classic
        /// The group's coordinator divides the partitions, and moves them one by one, while all members go on with the rest
        /// (KIP-848). Kafka 4.0 and librdkafka 2.12.0, or newer; with an older librdkafka it is refused when the consumer is
        /// made, with an older Kafka the consumer fails.
        ///
        /// Session time-out and heartbeats are the coordinator's, too (`group.consumer.session.timeout.ms`,
        /// `group.consumer.heartbeat.interval.ms`), and setting them here is refused. A topic that is a regular expression is
        /// matched by the broker, with the syntax of RE2/J.
        ///
        /// A member of which the brokers hear nothing for that time is out of the group and learns of it when it hears of them
        /// again; until then it hands out what it has fetched. One that has no partitions is not told so
        /// (``KafkaConsumer/Event/assigned(_:generation:)`` with none).
        case consumer
    }

    /// How the group divides partitions among its members (`partition.assignment.strategy`).
    public enum AssignmentStrategy: String, Sendable {
        /// Each topic's partitions in ranges.
        case range
        /// All partitions in turn.
        case roundRobin = "roundrobin"
        /// Balanced, keeping what can be kept: only the partitions that move are revoked (KIP-429). Cannot be
        /// combined with the others.
        case cooperativeSticky = "cooperative-sticky"
    }

    /// Which messages of transactions are delivered (`isolation.level`).
    public enum Isolation: String, Sendable {
        /// Those of committed transactions, and those sent outside of any.
        case readCommitted = "read_committed"
        /// All, those of aborted transactions too.
        case readUncommitted = "read_uncommitted"
    }

    /// What happens to a delivery that is in hand for longer than ``handlerTimeout``.
    public enum StuckHandling: String, Sendable {
        /// It is told: ``KafkaConsumer/Event/stuck(_:for:)`` and a log line. The partition waits.
        case report
        /// That, and the consumer leaves its group, so that other members take its partitions: the message is delivered
        /// to one of them. What other deliveries in hand come to is waited for and committed, as in every revocation;
        /// verdicts of the stuck one change nothing any more.
        ///
        /// When the application holds nothing any longer of what was stuck, because its handler ended or let go of it, the consumer joins
        /// again. Until then it receives nothing; where its handler never ends, that is for good. A member of the
        /// classic group protocol cannot give up one partition and keep others, for the group would give it back.
        /// A static member (``groupInstanceID``) keeps its partitions until ``sessionTimeout`` has passed.
        /// A consumer of named ``partitions`` has no group to leave.
        case leaveGroup
    }

    /// How much is fetched ahead of the application, for each partition. Reaching either bound stops fetching that
    /// partition until half of it is read; one fetch more (at most half of ``maximumBytes``) may be on its way.
    public struct Prefetch: Sendable, Hashable {
        /// Messages, 1 to 10,000,000 (`queued.min.messages`).
        public var maximumMessages: Int

        /// Bytes of keys and values, 1 KiB to 1 GiB, in whole KiB (`queued.max.messages.kbytes`; half of it is what
        /// one fetch may bring, `fetch.message.max.bytes`). A message that is larger is still fetched.
        public var maximumBytes: Int

        /// Bounds for each partition. With the defaults a consumer of 100 partitions holds at most 150 MiB of
        /// messages.
        public init(maximumMessages: Int = 10_000, maximumBytes: Int = 1 << 20) {
            self.maximumMessages = maximumMessages
            self.maximumBytes = maximumBytes
        }
    }
}
