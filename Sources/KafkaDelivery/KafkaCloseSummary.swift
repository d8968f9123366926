/// What became of what was under way when a client was closed.
///
/// Producers fill in what was being sent, consumers what was being handled; the rest is zero.
public struct KafkaCloseSummary: Sendable, Hashable {
    /// Messages that were confirmed after closing began; of a transactional producer, those of a transaction that was committed.
    public var delivered = 0

    /// Messages that are certainly not stored; of a transactional producer, those of a transaction that was aborted.
    public var failed = 0

    /// Messages that were handed to the network, and not answered in time: they may be stored. Of a transactional producer,
    /// those of a transaction of which no answer says whether it was committed.
    public var unknown = 0

    /// Deliveries that were handed out and had no verdict; their messages are delivered again to the next owner.
    public var unsettled = 0

    /// Acknowledgements that did not reach the broker before their partition went, in the life of the consumer: by
    /// closing, to another member, or because the session ran out (``KafkaConsumer/Event/uncommitted(_:)``). How many for each
    /// partition that has any; those messages are delivered again too.
    public var uncommitted: [KafkaTopicPartition: Int] = [:]

    /// Verdicts, in the life of the consumer, that came after their partition had gone to another member, or elsewhere by
    /// a seek, and changed nothing.
    public var lateVerdicts = 0

    /// Whether a consumer took its leave in time. It can only when a join that is under way is answered and the group's
    /// coordinator can be reached, for which closing waits. Where it did not, the group finds out after the session time-out, as
    /// it does of static members, whose leave is not announced. False for a producer.
    public var leftGroup = false

    /// How many messages were acknowledged and never committed: the sum of ``uncommitted``.
    public var uncommittedMessages: Int { uncommitted.values.reduce(0, +) }

    /// How many partitions have such messages.
    public var uncommittedPartitions: Int { uncommitted.count }

    /// Whether nothing is lost, in doubt, or to be done again: nothing failed, is unknown, unsettled or uncommitted, and no verdict
    /// came too late.
    public var isClean: Bool {
        failed == 0 && unknown == 0 && unsettled == 0 && uncommitted.isEmpty && lateVerdicts == 0
    }

    /// A summary, for tests of code that looks at one.
    public init(
        delivered: Int = 0,
        failed: Int = 0,
        unknown: Int = 0,
        unsettled: Int = 0,
        uncommitted: [KafkaTopicPartition: Int] = [:],
        lateVerdicts: Int = 0,
        leftGroup: Bool = false
    ) {
        self.delivered = delivered
        self.failed = failed
        self.unknown = unknown
        self.unsettled = unsettled
        self.uncommitted = uncommitted
        self.lateVerdicts = lateVerdicts
        self.leftGroup = leftGroup
    }
}
