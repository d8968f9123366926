internal import Logging

/// Commits what was acknowledged: the shell around ``Committer``, of the consumer's thread.
final class OffsetCommits {
    private let core: ConsumerCore
    private let client: RdKafkaClient
    private let queue: RdKafkaQueue
    private let poison: PoisonSearch?
    private let metrics: ConsumerMetrics?
    private var committer = Committer()
    /// Transactions that must not be overtaken by the commit under way.
    private var waitersForEnd: [TimedWait<Bool>] = []

    init(
        _ core: ConsumerCore,
        _ client: RdKafkaClient,
        _ queue: RdKafkaQueue,
        _ poison: PoisonSearch?,
        _ metrics: ConsumerMetrics?
    ) {
        self.core = core
        self.client = client
        self.queue = queue
        self.poison = poison
        self.metrics = metrics
    }

    /// When there is something to do.
    var next: ContinuousClock.Instant? {
        [committer.nextDeadline, committer.nextBegin].compactMap(\.self).min()
    }

    /// Whether nothing of partitions is to be committed, and no commit is under way.
    func areDone(_ readers: some Sequence<PartitionReader>) -> Bool {
        committer.inFlight == nil && readers.allSatisfy { $0.commitTarget == nil }
    }

    // MARK: When

    /// Commits as soon as that may be; without a group there is nothing to commit for.
    func schedule() {
        if core.configuration.hasGroup { committer.schedule(at: .now) }
    }

    /// Waits for the end of a rebalance that the member is about to join.
    func hold() {
        committer.hold(until: .now.advanced(by: .seconds(10)))
    }

    /// The rebalance has come to this member.
    func release() {
        committer.release()
    }

    /// Partitions went, with `error` for the tasks that wait for their commit.
    func ended(_ readers: [PartitionReader], _ error: KafkaError) {
        for reader in readers { committer.forget(reader.partition) }
        resume(committer.failedWaiters(Set(readers.map { ObjectIdentifier($0) }), error))
    }

    /// Takes the next step.
    ///
    /// - Parameters:
    ///   - readers: All that are assigned.
    ///   - isRevoking: Whether partitions are on their way back: their commit does not wait.
    ///   - isClosing: Whether there is little time.
    func advance(_ readers: some Collection<PartitionReader>, isRevoking: Bool, isClosing: Bool) {
        let now = ContinuousClock.now
        guard core.configuration.hasGroup else { return }
        let count = core.uncommittedCount
        if count >= core.configuration.maximumUncommitted {
            committer.schedule(at: now)
        } else if count > 0, committer.due == nil {
            committer.schedule(at: now.advanced(by: core.configuration.commitInterval.asTimeout))
        }
        let membership = client.groupLog?.membership
        // A broker reads nothing behind a join before it has answered that, and by then the commit is one of the generation before; so is
        // that of a member that closes, which waits until it can be heard anyway. The group waits for its slowest member for as long as
        // its rebalance time-out.
        let isAsked = membership?.isJoinAsked == true
        let limit: Duration = isClosing ? .milliseconds(500) : .seconds(10)
        committer.note(
            // A revocation asks for a commit before the member joins again.
            isJoining: !Quirks.current.keepsAssignmentAfterStaleCommit && !isRevoking && membership?.isJoining == true,
            at: now,
            limit: isAsked ? max(core.configuration.maximumPollInterval, limit) : limit
        )
        if committer.isDue(at: now) {
            // Before the offsets are read, so that what is acknowledged from here on starts the clock again.
            core.resetUncommittedCount()
            if let (offsets, id) = committer.begin(readers, at: now) {
                poison?.committing(offsets)
                if let error = client.commit(offsets, resultTo: queue, opaque: id) {
                    end([], error, readers, isRevoking: isRevoking)
                }
            }
        }
        resume(committer.settledWaiters(at: now))
    }

    // MARK: The answer

    /// Whether an answer is that to the commit under way.
    func isAwaited(_ id: UInt) -> Bool { id == committer.id }

    /// The commit under way was answered.
    func end(
        _ results: [PartitionOffset],
        _ error: KafkaError?,
        _ readers: some Collection<PartitionReader>,
        isRevoking: Bool
    ) {
        let failures =
            core.configuration.joinsGroup
            ? committer.end(results, error, at: .now)
            : committer.end(
                results.map { result in
                    var result = result
                    result.error = result.error.map(explainRefusal)
                    return result
                },
                error.map(explainRefusal),
                at: .now
            )
        metrics?.noteCommit(failed: !failures.isEmpty)
        releaseWaitersForEnd()
        if let first = failures.first {
            if failures.contains(where: { $0.1.isMetadataTooLarge }) { poison?.giveUp(readers) }
            for (reader, error) in failures where committer.isGivenUp(reader.partition, error) {
                resume(committer.failedWaiters([ObjectIdentifier(reader)], error))
            }
            let partitions = failures.map(\.0.partition)
            core.logger.info(
                "Commit failed",
                metadata: ["kafka_partitions": "\(partitions)", "kafka_error": "\(first.1)"]
            )
            core.events.send(.commitFailed(partitions, first.1))
            // A revocation does not wait: it is what the rebalance asks for.
            if !isRevoking, failures.contains(where: { $0.1.isRebalanceInProgress }) { hold() }
        }
        resume(committer.settledWaiters(at: .now))
    }

    /// A consumer with partitions of its own is a member of no group, and the brokers take commits from those only while there
    /// are any. That does not pass by trying again soon.
    private func explainRefusal(_ error: KafkaError) -> KafkaError {
        guard error.kind == .assignmentEnded else { return error }
        return KafkaError(
            .broker,
            recovery: .fixRequest,
            reason: "the group \(core.configuration.group) has members, and only they may commit for it",
            code: error.code
        )
    }

    // MARK: Tasks that wait

    /// A task waits until everything that is acknowledged now is committed.
    func wait(_ waiter: ConsumerCore.CommitWaiter, for readers: some Sequence<PartitionReader>) {
        committer.add(
            Committer.Waiter(
                task: waiter,
                deadline: .now.advanced(by: .seconds(30)),
                targets: readers.compactMap(\.commitTarget)
            )
        )
        schedule()
    }

    /// The task does not wait any longer.
    func cancelWait(_ id: UInt64) {
        committer.cancel(id)?.task.continuation.resume(returning: .cancelled(persistence: nil))
    }

    /// A task waits for the end of the commit under way.
    func waitForEnd(_ wait: TimedWait<Bool>) {
        if committer.inFlight == nil { wait.resume(true) } else { waitersForEnd.append(wait) }
    }

    /// The consumer is closed: nothing is committed any more.
    func finish() {
        resume(committer.allWaiters(.closed(persistence: nil)))
        releaseWaitersForEnd()
    }

    private func releaseWaitersForEnd() {
        for wait in waitersForEnd { wait.resume(true) }
        waitersForEnd = []
    }

    private func resume(_ waiters: [(Committer.Waiter, KafkaError?)]) {
        for (waiter, error) in waiters { waiter.task.continuation.resume(returning: error) }
    }
}
