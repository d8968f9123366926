/// Partitions that are to be brought elsewhere, often to where the consumer was told to start, and that were tried before in
/// vain. A value without threads, of the consumer's thread.
struct PostponedSeeks<Partition> {
    typealias Instant = ContinuousClock.Instant
    typealias Start = KafkaConsumer.Configuration.Start

    enum Action {
        case bring([Partition], to: Start)
    }

    private var waiting: [(due: Instant, partitions: [Partition], start: Start)] = []

    /// When the first is due; nil where none waits.
    var next: Instant? { waiting.map(\.due).min() }

    mutating func add(_ partitions: [Partition], to start: Start, due: Instant) {
        waiting.append((due, partitions, start))
    }

    /// Takes the next step: those that are due, in the order in which they came.
    mutating func advance(at now: Instant) -> [Action] {
        let due = waiting.filter { $0.due <= now }
        guard !due.isEmpty else { return [] }
        waiting.removeAll { $0.due <= now }
        return due.map { .bring($0.partitions, to: $0.start) }
    }
}
