import KafkaDelivery

/// Which of the partitions that are ours are not read to their end yet.
///
/// That a partition is at its end may be heard before that it is ours, so what counts is that both are said of the same
/// generation.
struct EndTracker {
    private var assigned: [KafkaTopicPartition: Int] = [:]
    private var ended: [KafkaTopicPartition: Int] = [:]

    /// Whether all are read. A member that has no partition waits until it is given one: what it does not read,
    /// another may not have read either.
    var isComplete: Bool {
        !assigned.isEmpty && assigned.allSatisfy { ended[$0.key] == $0.value }
    }

    /// Whether there is a partition to read.
    var hasPartitions: Bool { !assigned.isEmpty }

    mutating func assign(_ partitions: [KafkaTopicPartition], generation: Int) {
        for partition in partitions { assigned[partition] = generation }
    }

    mutating func revoke(_ partitions: [KafkaTopicPartition]) {
        for partition in partitions { assigned[partition] = nil }
    }

    mutating func reachEnd(of partition: KafkaTopicPartition, generation: Int) {
        ended[partition] = max(generation, ended[partition] ?? generation)
    }
}
