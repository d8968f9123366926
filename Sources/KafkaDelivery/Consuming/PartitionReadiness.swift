/// What loops wait for, see ``ReadyPartitions``.
protocol ReadyPartition: AnyObject, Sendable {
    /// What is known of it.
    var readiness: PartitionReadiness<Self> { get }
}

/// What ``ReadyPartitions`` knows of one partition.
///
/// Sendable because the lock around that value (`ConsumerCore.state`) guards it: tasks in loops, librdkafka's threads in the queue's
/// listener and the consumer's thread all take it before they look.
final class PartitionReadiness<Partition: ReadyPartition>: @unchecked Sendable {
    /// Where a partition stands.
    enum State {
        /// There was nothing to read when a loop looked last, and no news since.
        case idle
        /// There may be something to read, and no loop has begun to.
        case queued
        /// There may be something to read, and a loop has begun to. It may have gone since, or be busy with what it got.
        case shared
        /// There may be something to read, and it has a loop of its own.
        case owned
    }

    var state = State.idle
    var news: ReadyPartitions<Partition>.News = 0
    /// Where it is in the row that it is in.
    var slot = 0
    /// Loops that wait for news of this partition alone.
    var waiters: [ReadyPartitions<Partition>.Waiter] = []
    /// Whether it has a loop of its own.
    var hasOwnLoop = false
    /// The loop over `partitions` that it was given to last, and the task that read it last.
    var loop: UInt64 = 0
    var task: TaskIdentity?
    var hasEnded = false
}
