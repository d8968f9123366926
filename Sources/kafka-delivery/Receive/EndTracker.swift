import KafkaDelivery

/// Which of the partitions that are ours are not read to their end yet.
///
/// That a partition is at its end may be heard before that it is ours, so what counts is that both are said of the same
/// generation.
struct EndTracker {
    private var assigned: [KafkaTopicPartition: Int] = [:]
    private var ended: [KafkaTopicPartition: Int] = [:]
    private var wasAssigned = false

    /// The partitions that are ours, where all of them are read to their end; nil as long as one is not, or the group has not
    /// given any out, be it none. What others have is not in it: whether that is read, ``GroupRest`` finds out.
    var finished: Set<KafkaTopicPartition>? {
        wasAssigned && assigned.allSatisfy { ended[$0.key] == $0.value } ? Set(assigned.keys) : nil
    }

    /// Whether there is a partition to read.
    var hasPartitions: Bool { !assigned.isEmpty }

    mutating func assign(_ partitions: [KafkaTopicPartition], generation: Int) {
        wasAssigned = true
        for partition in partitions { assigned[partition] = generation }
    }

    mutating func revoke(_ partitions: [KafkaTopicPartition]) {
        for partition in partitions { assigned[partition] = nil }
    }

    mutating func reachEnd(of partition: KafkaTopicPartition, generation: Int) {
        ended[partition] = max(generation, ended[partition] ?? generation)
    }
}
