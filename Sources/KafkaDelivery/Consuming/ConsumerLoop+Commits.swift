internal import Logging

/// Offsets go to the broker.
extension ConsumerLoop {
    func beginWaiting(_ waiter: ConsumerCore.CommitWaiter) {
        let targets = readers.values.compactMap(\.commitTarget)
        committer.add(
            Committer.Waiter(task: waiter, deadline: clock.now.advanced(by: .seconds(30)), targets: targets)
        )
        committer.schedule(at: clock.now)
    }

    func advanceCommits() {
        let now = clock.now
        guard core.configuration.hasGroup else { return }
        let count = core.uncommittedCount
        if count >= core.configuration.maximumUncommitted {
            committer.schedule(at: now)
        } else if count > 0, committer.due == nil {
            committer.schedule(at: now.advanced(by: core.configuration.commitInterval.asTimeout))
        }
        committer.note(
            // A revocation asks for a commit before the member joins again.
            isJoining: !Quirks.current.keepsAssignmentAfterStaleCommit && revocation == nil
                && client.groupLog?.membership.isJoining == true,
            at: now,
            limit: closing == nil ? .seconds(10) : .milliseconds(500)
        )
        if committer.isDue(at: now) {
            // Before the offsets are read, so that what is acknowledged from here on starts the clock again.
            core.resetUncommittedCount()
            if let (offsets, id) = committer.begin(readers.values, at: now) {
                crashes.noteCommit(offsets)
                if let error = client.commit(offsets, resultTo: queue, opaque: id) { endCommit([], error) }
            }
        }
        resume(committer.settledWaiters(at: now))
    }

    func endCommit(_ results: [PartitionOffset], _ error: KafkaError?) {
        let failures =
            core.configuration.joinsGroup
            ? committer.end(results, error, at: clock.now)
            : committer.end(
                results.map { result in
                    var result = result
                    result.error = result.error.map(explainRefusal)
                    return result
                },
                error.map(explainRefusal),
                at: clock.now
            )
        metrics?.noteCommit(failed: !failures.isEmpty)
        releaseWaitersForEndOfCommit()
        if !failures.isEmpty {
            if failures.contains(where: { $0.1.isMetadataTooLarge }) { stopCountingCrashes() }
            for (reader, error) in failures where committer.isGivenUp(reader.partition, error) {
                resume(committer.failedWaiters([ObjectIdentifier(reader)], error))
            }
            let partitions = failures.map(\.0.partition)
            core.logger.info(
                "Commit failed",
                metadata: ["kafka_partitions": "\(partitions)", "kafka_error": "\(failures[0].1)"]
            )
            core.events.send(.commitFailed(partitions, failures[0].1))
            // A revocation does not wait: it is what the rebalance asks for.
            if revocation == nil, failures.contains(where: { $0.1.isRebalanceInProgress }) {
                committer.hold(until: clock.now.advanced(by: .seconds(10)))
            }
        }
        resume(committer.settledWaiters(at: clock.now))
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

    func releaseWaitersForEndOfCommit() {
        for wait in waitersForEndOfCommit { wait.resume(true) }
        waitersForEndOfCommit = []
    }

    func resume(_ waiters: [(Committer.Waiter, KafkaError?)]) {
        for (waiter, error) in waiters { waiter.task.continuation.resume(returning: error) }
    }
}
