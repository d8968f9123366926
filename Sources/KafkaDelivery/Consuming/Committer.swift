/// When offsets are committed, and who waits for it. Used by the consumer's thread alone.
///
/// One commit is under way at a time, so that none overtakes another.
struct Committer {
    typealias Instant = ContinuousClock.Instant

    /// A task that waits until everything acknowledged at some moment is committed.
    struct Waiter {
        let task: ConsumerCore.CommitWaiter
        let deadline: Instant
        var targets: [Target]
    }

    /// One partition's part of a commit.
    struct Target {
        let reader: PartitionReader
        let offset: Int64
        /// Which run of offsets it belongs to, see ``OffsetTracker/restart()``.
        let run: Int
        /// How many messages of the generation are settled with it.
        var settled: OffsetTracker.Sequence
        /// What is written beside it.
        var note = CrashRecord.none
    }

    /// The commit under way; nil where there is none.
    private(set) var inFlight: [KafkaTopicPartition: Target]?
    /// Tells the answers to different commits apart.
    private(set) var id: UInt = 0
    /// When the next commit should begin; nil where nothing is due.
    private(set) var due: Instant?
    private var waiters: [Waiter] = []
    /// Partitions that were part of a commit which failed, committed one by one until they succeed: librdkafka writes one
    /// partition's error into all entries, so that only a commit of its own tells whose it was. With the time before
    /// which it is not worth trying again.
    private var isolated: [KafkaTopicPartition: Instant] = [:]

    /// Until when nothing is committed, because the group is rebalancing.
    private var held: Instant?
    /// The same, because this member is just joining the group's next generation; and for how long it was to be.
    private var heldForJoining: (until: Instant, limit: Duration)?

    /// How soon a commit is tried again after an error that may pass.
    static let retryInterval = Duration.milliseconds(100)
    /// How soon after one that will not pass by itself.
    static let isolationInterval = Duration.seconds(5)

    mutating func schedule(at instant: Instant) {
        due = min(instant, due ?? instant)
    }

    /// When the next commit begins, where nothing is under way.
    var nextBegin: Instant? {
        guard inFlight == nil, let due else { return nil }
        return max(due, held ?? due, heldForJoining?.until ?? due)
    }

    func isDue(at now: Instant) -> Bool {
        nextBegin.map { $0 <= now } ?? false
    }

    /// Waits for the end of a rebalance: a commit that meets the next generation is answered with an error, for which
    /// librdkafka gives up everything that is assigned.
    mutating func hold(until instant: Instant) {
        held = instant
    }

    /// The rebalance has come to this member.
    mutating func release() {
        held = nil
    }

    /// Holds commits back while the member is joining (see ``GroupLog``), for a limited time, which begins anew where the limit is another:
    /// what is never committed is delivered again after a crash. Then one commit goes out, and the next is held back again.
    mutating func note(isJoining: Bool, at now: Instant, limit: Duration) {
        guard isJoining else {
            heldForJoining = nil
            return
        }
        guard isWanted(at: now) else { return }
        if heldForJoining?.limit != limit { heldForJoining = (now.advanced(by: limit), limit) }
    }

    /// Whether there would be a commit now, but for a member that is joining.
    private func isWanted(at now: Instant) -> Bool {
        guard inFlight == nil, let due else { return false }
        return max(due, held ?? due) <= now
    }

    /// Begins a commit: of everything that can be committed, or else of one of those that are committed by themselves.
    ///
    /// - Returns: What to commit, with an id for the answer; nil where there is nothing.
    mutating func begin(
        _ readers: some Sequence<PartitionReader>,
        at now: Instant
    ) -> (offsets: [PartitionOffset], id: UInt)? {
        due = nil
        heldForJoining = nil
        var common: [KafkaTopicPartition: Target] = [:]
        var alone: [(since: Instant, target: Target)] = []
        for reader in readers {
            guard let target = reader.commitTarget else { continue }
            if let since = isolated[reader.partition] {
                alone.append((since, target))
            } else {
                common[reader.partition] = target
            }
        }
        if common.isEmpty, let first = alone.min(by: { $0.since < $1.since }) {
            guard first.since <= now else {
                schedule(at: first.since)
                return nil
            }
            common[first.target.reader.partition] = first.target
        } else if !alone.isEmpty {
            schedule(at: now)
        }
        guard !common.isEmpty else { return nil }
        inFlight = common
        id += 1
        let offsets = common.map {
            PartitionOffset(partition: $0.key, offset: $0.value.offset, metadata: $0.value.note.metadata)
        }
        return (offsets, id)
    }

    /// Takes the answer to the commit under way: what succeeded counts, and what did not is returned and scheduled again.
    mutating func end(
        _ results: [PartitionOffset],
        _ error: KafkaError?,
        at now: Instant
    ) -> [(PartitionReader, KafkaError)] {
        guard let committed = inFlight else { return [] }
        inFlight = nil
        let errors = Dictionary(results.map { ($0.partition, $0.error) }, uniquingKeysWith: { first, _ in first })
        var failures: [(PartitionReader, KafkaError)] = []
        for (partition, target) in committed {
            guard let error = (errors[partition] ?? nil) ?? error else {
                target.reader.didCommit(target)
                isolated[partition] = nil
                continue
            }
            failures.append((target.reader, error))
            guard error.recovery != .retry else {
                schedule(at: now.advanced(by: Self.retryInterval))
                continue
            }
            isolated[partition] = committed.count > 1 ? now : now.advanced(by: Self.isolationInterval)
        }
        // What is committed by itself comes one after the other.
        if let next = isolated.values.min() { schedule(at: next) }
        return failures
    }

    /// Whether an error is a partition's own, and will not pass: then it is not waited for.
    func isGivenUp(_ partition: KafkaTopicPartition, _ error: KafkaError) -> Bool {
        guard error.recovery != .retry, let since = isolated[partition] else { return false }
        return since > .now
    }

    /// Forgets a partition that went away.
    mutating func forget(_ partition: KafkaTopicPartition) {
        isolated[partition] = nil
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
            waiter.targets.removeAll { $0.reader.isCommitted($0) }
            if waiter.targets.isEmpty { return .some(nil) }
            guard waiter.deadline <= now else { return nil }
            return KafkaError(.timedOut, recovery: .retry, reason: "the commit was not confirmed in time")
        }
    }

    /// Those who wait for one of these partitions, which will not be committed.
    mutating func failedWaiters(_ readers: Set<ObjectIdentifier>, _ error: KafkaError) -> [(Waiter, KafkaError?)] {
        removeWaiters { waiter in
            waiter.targets.contains { readers.contains(ObjectIdentifier($0.reader)) } ? .some(error) : nil
        }
    }

    mutating func allWaiters(_ error: KafkaError) -> [(Waiter, KafkaError?)] {
        removeWaiters { _ in error }
    }

    private mutating func removeWaiters(
        _ answer: (inout Waiter) -> KafkaError??
    ) -> [(Waiter, KafkaError?)] {
        var removed: [(Waiter, KafkaError?)] = []
        var kept: [Waiter] = []
        for var waiter in waiters {
            if let error = answer(&waiter) { removed.append((waiter, error)) } else { kept.append(waiter) }
        }
        waiters = kept
        return removed
    }
}
