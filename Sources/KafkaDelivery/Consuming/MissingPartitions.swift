/// Which of the partitions that the consumer was given by name do not exist, and when to look for them. A value without threads,
/// of the consumer's thread.
struct MissingPartitions {
    typealias Instant = ContinuousClock.Instant

    enum Action: Equatable {
        /// Ask the brokers which of these exist.
        case search(Set<KafkaTopicPartition>)
        /// Tell that one does not exist: once, as long as it does not.
        case report(KafkaTopicPartition)
    }

    private let named: Set<KafkaTopicPartition>
    /// How long after one search the next begins.
    private let interval: Duration
    private var missing: Set<KafkaTopicPartition> = []
    /// When to search next; nil where all exist, and while a search is under way.
    private(set) var next: Instant?

    init(named: [KafkaTopicPartition], interval: Duration) {
        self.named = Set(named)
        self.interval = interval
    }

    /// The partitions are read from now on.
    mutating func begin(at now: Instant) {
        next = now
    }

    /// Takes the next step.
    mutating func advance(at now: Instant) -> [Action] {
        guard let due = next, due <= now else { return [] }
        next = nil
        return [.search(missing.isEmpty ? named : missing)]
    }

    /// The brokers could not be asked.
    mutating func couldNotSearch(at now: Instant) {
        next = now.advanced(by: interval)
    }

    /// The brokers have said which partitions do not exist.
    mutating func found(_ found: Set<KafkaTopicPartition>, at now: Instant) -> [Action] {
        defer { missing = found }
        if !found.isEmpty { next = now.advanced(by: interval) }
        return found.subtracting(missing).sorted().map { .report($0) }
    }
}
