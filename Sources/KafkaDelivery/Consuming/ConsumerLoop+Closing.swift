internal import Logging

/// The end.
extension ConsumerLoop {
    func beginClosing(by deadline: Instant) {
        let now = clock.now
        // A quarter of the time, at most two seconds, is kept for the last commit, and as much for leaving the group.
        let reserve = min(now.duration(to: deadline) / 4, .seconds(2))
        if var closing {
            closing.deadline = min(deadline, closing.deadline)
            switch closing.stage {
            case .draining(let until): closing.stage = .draining(until: min(until, deadline - reserve * 2))
            case .committing(let until): closing.stage = .committing(until: min(until, deadline - reserve))
            case .joining(let until): closing.stage = .joining(until: min(until, deadline - reserve))
            case .leaving, .leavingUnattended: break
            }
            self.closing = closing
            return
        }
        core.endLoops(of: readers.values)
        cancelStartingOffsets(of: readers.values)
        closing = Closing(deadline: deadline, stage: .draining(until: deadline - reserve * 2))
    }

    /// Takes the next step of closing: wait for what is in hand, commit, leave the group.
    func advanceClosing() {
        guard let current = closing else { return }
        let now = clock.now
        switch current.stage {
        case .draining(let until):
            guard now >= until || readers.values.allSatisfy({ $0.heldCount == 0 }) else { return }
            let reserve = min(now.duration(to: current.deadline) / 2, .seconds(2))
            closing?.stage = .committing(until: current.deadline - reserve)
            committer.release()
            committer.schedule(at: now)
            advanceCommits()
            advanceClosing()
        case .committing(let until):
            let isCommitted = committer.inFlight == nil && readers.values.allSatisfy { $0.commitTarget == nil }
            guard now >= until || (isCommitted && (revocation == nil || isReadyToLeave)) else { return }
            let reserve = min(now.duration(to: current.deadline) / 4, .seconds(1))
            closing?.stage = .joining(until: current.deadline - reserve)
            advanceClosing()
        case .joining(let until):
            guard now >= until || maySayGoodbye else { return }
            closing?.isSilent = !maySayGoodbye
            closing?.stage = .leaving
            leave()
        case .leaving:
            isFinished = client.isConsumerClosed
            guard isFinished || now >= current.deadline else { return }
            closing?.stage = .leavingUnattended
            finish()
        case .leavingUnattended:
            isFinished = client.isConsumerClosed
        }
    }

    /// Whether nothing is in hand any more, and what was acknowledged is committed.
    var isReadyToLeave: Bool {
        committer.inFlight == nil && readers.values.allSatisfy { $0.heldCount == 0 && $0.commitTarget == nil }
    }

    /// Whether the group would hear of it if this member left now, or is not to hear anything.
    var maySayGoodbye: Bool {
        guard isSubscribed, client.fatalError == nil else { return true }
        return client.groupLog?.membership.maySayGoodbye ?? true
    }

    private func leave() {
        // An eager group's revocation that is under way is not answered at all: told to leave, librdkafka does not wait for
        // it any more, and answered before it would join again first. A cooperative group's is answered afterwards:
        // librdkafka 2.0.2 leaves without saying so to the group where it is told while partitions are on their way back.
        closing?.answers = revocation == nil || client.isCooperative ? .last : .none
        if let error = client.closeConsumer(eventsTo: queue) {
            // After a fatal error there is no group to leave.
            core.logger.debug("Group not left", metadata: ["kafka_error": "\(error)"])
            isFinished = true
            return finish()
        }
        advanceRevocation()
        advanceClosing()
    }

    private func finish() {
        let hasLeft = client.isConsumerClosed && closing?.isSilent != true
        if !hasLeft { core.logger.warning("Consumer closed without leaving its group in time") }
        let (unsettled, uncommitted) = endReaders(Array(readers.values))
        reportUncommitted(uncommitted)
        exportMetrics(at: clock.now)
        resume(committer.allWaiters(.closed(persistence: nil)))
        releaseWaitersForEndOfCommit()
        for restart in restarts { restart.continuation.resume(returning: .closed(persistence: nil)) }
        restarts = []
        core.finish(
            KafkaCloseSummary(
                unsettled: unsettled + (closing?.unsettled ?? 0),
                uncommitted: self.uncommitted,
                lateVerdicts: core.lateCount,
                leftGroup: hasLeft
            )
        )
    }
}
