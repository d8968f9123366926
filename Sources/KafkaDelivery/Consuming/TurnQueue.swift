/// Which partition hands out the next message while a consumer is being probed: one at a time, in the order in which they asked,
/// those with a suspect first. A value without threads.
struct TurnQueue {
    private var waiting: [KafkaTopicPartition] = []
    /// Whose turn it is.
    private(set) var current: KafkaTopicPartition?

    mutating func add(_ partition: KafkaTopicPartition, isUrgent: Bool) {
        guard partition != current, !waiting.contains(partition) else { return }
        if isUrgent { waiting.insert(partition, at: 0) } else { waiting.append(partition) }
    }

    /// Begins the next turn; nil while there is one, and where no partition waits.
    mutating func begin() -> KafkaTopicPartition? {
        guard current == nil, !waiting.isEmpty else { return nil }
        current = waiting.removeFirst()
        return current
    }

    /// Ends the turn.
    mutating func end() {
        current = nil
    }

    /// Puts the one whose turn it is back where it was: it cannot begin yet.
    mutating func postpone() {
        guard let partition = current else { return }
        current = nil
        waiting.insert(partition, at: 0)
    }

    /// Forgets a partition that went away.
    mutating func remove(_ partition: KafkaTopicPartition) {
        guard !waiting.isEmpty || current != nil else { return }
        waiting.removeAll { $0 == partition }
        if current == partition { current = nil }
    }

    mutating func removeAll() {
        waiting = []
        current = nil
    }
}
