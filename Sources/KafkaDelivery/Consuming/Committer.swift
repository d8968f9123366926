/// When offsets are committed, and who waits for it. Used by the consumer's thread alone.
///
/// One commit is under way at a time, so that none overtakes another.
struct Committer {
    typealias Instant = ContinuousClock.Instant

    /// A task that waits until everything acknowledged at some moment is committed.
    struct Waiter {
        let task: ConsumerCore.CommitWaiter
        let deadline: Instant
        var targets: [(reader: PartitionReader, offset: Int64)]
    }

    /// The commit under way; nil where there is none.
    private(set) var inFlight: [KafkaTopicPartition: (reader: PartitionReader, offset: Int64)]?
    /// Tells the answers to different commits apart.
    private(set) var id: UInt = 0
    /// When the next commit should begin; nil where nothing is due.
    private(set) var due: Instant?
    private var waiters: [Waiter] = []

    /// How soon a commit is tried again after an error that may pass.
    static let retryInterval = Duration.milliseconds(100)

    mutating func schedule(at instant: Instant) {
        due = min(instant, due ?? instant)
    }

    func isDue(at now: Instant) -> Bool {
        guard inFlight == nil, let due else { return false }
        return due <= now
    }

    /// Begins a commit of everything that can be committed.
    ///
    /// - Returns: What to commit, with an id for the answer; nil where there is nothing.
    mutating func begin(_ readers: some Sequence<PartitionReader>) -> (offsets: [PartitionOffset], id: UInt)? {
        due = nil
        var targets: [KafkaTopicPartition: (PartitionReader, Int64)] = [:]
        for reader in readers {
            if let target = reader.commitTarget { targets[reader.partition] = (reader, target) }
        }
        guard !targets.isEmpty else { return nil }
        inFlight = targets
        id += 1
        return (targets.map { PartitionOffset(partition: $0.key, offset: $0.value.1) }, id)
    }

    /// Takes the answer to the commit under way: what succeeded counts, and what did not is returned.
    mutating func end(_ results: [PartitionOffset], _ error: KafkaError?) -> [(PartitionReader, KafkaError)] {
        guard let committed = inFlight else { return [] }
        inFlight = nil
        let errors = Dictionary(results.map { ($0.partition, $0.error) }, uniquingKeysWith: { first, _ in first })
        return committed.compactMap { partition, target in
            if let error = (errors[partition] ?? nil) ?? error { return (target.reader, error) }
            target.reader.didCommit(target.offset)
            return nil
        }
    }

    // MARK: Waiting

    mutating func add(_ waiter: Waiter) {
        waiters.append(waiter)
    }

    mutating func cancel(_ id: UInt64) -> Waiter? {
        waiters.firstIndex { $0.task.id == id }.map { waiters.remove(at: $0) }
    }

    var nextDeadline: Instant? {
        waiters.map(\.deadline).min()
    }

    /// Those whose offsets are all committed, and those who waited too long.
    mutating func settledWaiters(at now: Instant) -> [(Waiter, KafkaError?)] {
        removeWaiters { waiter in
            waiter.targets.removeAll { target in (target.reader.committed ?? -1) >= target.offset }
            if waiter.targets.isEmpty { return .some(nil) }
            guard waiter.deadline <= now else { return nil }
            return KafkaError(.timedOut, recovery: .retry, reason: "the commit was not confirmed in time")
        }
    }

    /// Those who wait for a partition that will not be committed.
    mutating func failedWaiters(_ reader: PartitionReader, _ error: KafkaError) -> [(Waiter, KafkaError?)] {
        removeWaiters { waiter in
            waiter.targets.contains { $0.reader === reader } ? .some(error) : nil
        }
    }

    mutating func allWaiters(_ error: KafkaError) -> [(Waiter, KafkaError?)] {
        removeWaiters { _ in error }
    }

    private mutating func removeWaiters(
        _ outcome: (inout Waiter) -> KafkaError??
    ) -> [(Waiter, KafkaError?)] {
        var removed: [(Waiter, KafkaError?)] = []
        var kept: [Waiter] = []
        for var waiter in waiters {
            if let error = outcome(&waiter) { removed.append((waiter, error)) } else { kept.append(waiter) }
        }
        waiters = kept
        return removed
    }
}
