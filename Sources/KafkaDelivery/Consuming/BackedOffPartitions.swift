/// Partitions that hold a delivery back which is due at some time: then they are offered to their loops again. A value without
/// threads, of the consumer's thread.
struct BackedOffPartitions<Partition: AnyObject> {
    typealias Instant = ContinuousClock.Instant

    enum Action {
        /// There is something to read again.
        case offer(Partition)
    }

    /// Soonest first; of those that are due together, in the order in which they were added.
    private var waiting: [(due: Instant, partition: Partition)] = []

    /// When the first one is due; nil where none waits.
    var next: Instant? { waiting.first?.due }

    mutating func add(_ partition: Partition, due: Instant) {
        waiting.insert((due, partition), at: waiting.firstIndex { $0.due > due } ?? waiting.endIndex)
    }

    /// Partitions went.
    mutating func remove(_ ended: Set<ObjectIdentifier>) {
        waiting.removeAll { ended.contains(ObjectIdentifier($0.partition)) }
    }

    /// Takes the next step.
    mutating func advance(at now: Instant) -> [Action] {
        let count = waiting.prefix { $0.due <= now }.count
        guard count > 0 else { return [] }
        defer { waiting.removeFirst(count) }
        return waiting.prefix(count).map { .offer($0.partition) }
    }
}
