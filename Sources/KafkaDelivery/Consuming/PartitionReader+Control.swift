internal import Synchronization

/// What the application and the consumer's thread decide about a partition: to stand still, to go elsewhere, to end.
extension PartitionReader {
    // MARK: Pausing

    /// Hands out nothing more, also nothing that is due again, until ``resume()``. What is fetched stays where it is:
    /// librdkafka's own pause throws it away and, in 2.0.2, leaks some of it.
    func pause() {
        state.withLock { $0.gate.pause() }
    }

    func resume() {
        let wasPaused = state.withLock { $0.gate.resume() }
        // Where no loop looked meanwhile the queue did not become empty, and librdkafka says nothing.
        if wasPaused { core.signal(self) }
    }

    var isPaused: Bool { state.withLock { $0.gate.isPaused } }

    /// The offset from which the next message is read; nil until something was read, sought, or the end was met.
    var position: Int64? { state.withLock { $0.pending?.offset ?? $0.position.next } }

    // MARK: Going elsewhere

    /// Hands out nothing until ``finishSeek()``.
    ///
    /// - Returns: False where the partition is not being read any more.
    func beginSeek() -> Bool {
        state.withLock { $0.gate.beginSeek() }
    }

    func finishSeek() {
        state.withLock { $0.gate.finishSeek() }
        core.signal(self)
    }

    /// Goes on at another offset. Between ``beginSeek()`` and ``finishSeek()``. Blocks for as long as librdkafka's main
    /// thread takes to hear of it, at most `timeout`.
    ///
    /// The moment `rd_kafka_seek` is called it counts the partition's version up, and what was fetched under an older one
    /// never leaves the queue. So nothing from before is handed out, also where the answer does not come in time: then
    /// the partition begins again all the same, because librdkafka may move it later.
    func seek(to offset: Int64, within timeout: Duration) -> KafkaError? {
        moving.withLock { _ in
            guard isReading, let client = core.client else { return .notAssigned(partition) }
            let error = client.seek(partition, to: offset, within: timeout)
            guard error == nil || error?.kind == .timedOut else { return error }
            let (isReading, outdated) = state.withLock { state -> (Bool, [ReceivedMessage]) in
                // Revoked meanwhile: what was acknowledged is still to be committed.
                guard state.gate.phase == .reading else { return (false, []) }
                let outdated = state.beginAgain()
                state.life.beginAgain(knownResets: resets.now)
                state.position.move(to: offset)
                core.noteRestart()
                return (true, outdated)
            }
            _ = consume outdated
            return isReading ? error : .notAssigned(partition)
        }
    }

    /// Whether librdkafka does not fetch it any more, so that it has to be assigned anew to go on.
    var isFetchStopped: Bool { state.withLock { $0.gate.isFetchStopped } }

    /// Where librdkafka has to go on with it if it is assigned anew: after what was read, which is not always handed out. Between
    /// ``beginSeek()`` and ``finishSeek()``, or what is read meanwhile is fetched again.
    var restartingPoint: Int64 { state.withLock { $0.position.next } ?? startingOffset }

    /// Throws away what librdkafka has put into the queue. Between ``beginSeek()`` and ``finishSeek()``.
    func discardFetched() {
        state.withLock { _ in
            while let message = queue.consume() { _ = consume message }
        }
    }

    /// Goes on at an offset at which librdkafka was told to start over. Between ``beginSeek()`` and ``finishSeek()``.
    func begin(at offset: Int64) {
        let outdated = state.withLock { state in
            let outdated = state.beginAgain()
            state.life.beginAgain(knownResets: resets.now)
            state.position.move(to: offset)
            core.noteRestart()
            return outdated
        }
        _ = consume outdated
    }

    /// The partition cannot go on: its loops end with the error.
    ///
    /// - Parameter isFetchStopped: Whether librdkafka may not fetch it any more, so that a seek has to assign it anew.
    func fail(_ error: KafkaError, isFetchStopped: Bool = false) {
        state.withLock { $0.gate.fail(error, isFetchStopped: isFetchStopped) }
        core.signal(self)
    }

    // MARK: Ending

    /// Hands out nothing more; verdicts still count.
    func stop() {
        // Let go of outside of the lock: each is the owner of a C object.
        let (rejected, pending) = state.withLock { state in
            state.gate.stop()
            defer { state.pending = nil }
            return (state.rejected.removeAll(), state.pending)
        }
        _ = consume rejected
        _ = consume pending
    }

    /// Verdicts change nothing from now on.
    ///
    /// - Returns: How many deliveries were not settled, and how many were acknowledged in vain: they are not committed, as
    ///   far as we know.
    func end() -> (unsettled: Int, uncommitted: Int) {
        queue.removeListener()
        // What keeps the reader from now on does not keep the client. Let go of outside of the lock: it is a C object.
        defer { _ = state.withLock { _ in queue.close() } }
        return moving.withLock { _ in
            state.withLock { state in
                state.gate.end()
                let tracker = state.tracker
                guard core.commits, core.configuration.hasGroup, !state.holdsCommits else {
                    return (tracker.unsettledCount, 0)
                }
                return (tracker.unsettledCount, tracker.uncommittedCount)
            }
        }
    }

    // MARK: Metrics

    /// What metrics tell of it.
    func snapshot(_ watch: StuckHandlerClock, at now: StuckHandlerClock.Instant) -> ConsumerSnapshot.Partition {
        let (totals, unsettled, oldest, unfinished) = state.withLock { state in
            let first = state.tracker.firstUnsettled
            return (
                state.tracker.totals, state.tracker.unsettledCount, first?.stamp,
                first?.offset ?? state.pending?.offset ?? state.position.next
            )
        }
        let end = core.client?.cachedEnd(of: partition) ?? -1
        return ConsumerSnapshot.Partition(
            totals: totals,
            unsettled: unsettled,
            oldestAge: oldest.map { watch.age(of: $0, at: now) },
            lag: end < 0 ? nil : unfinished.map { end.distance(after: $0) }
        )
    }

    // MARK: Committing

    /// Finds the deliveries that were handed out before a moment and that the application still holds; each is found once.
    func markStuck(before late: StuckHandlerClock.Stamp) -> [OffsetTracker.Stuck] {
        state.withLock { $0.tracker.markStuck(before: late) }
    }

    /// How many of those the application still holds.
    var stuckCount: Int { state.withLock { $0.tracker.stuckCount } }

    /// How many deliveries the application holds that may still get their verdict before long.
    var busyCount: Int { state.withLock { $0.tracker.heldCount - $0.tracker.stuckCount } }

    var heldCount: Int { state.withLock { $0.tracker.heldCount } }

    var commitTarget: Committer.Target? {
        guard core.commits, core.configuration.hasGroup else { return nil }
        return state.withLock { state in
            // A plain commit must not overtake a transaction's, or be overtaken by it.
            !state.transaction.isOpen && !state.holdsCommits ? commitTarget(state) : nil
        }
    }

    /// The brokers did not have an offset that was asked for, and librdkafka was sent elsewhere. Until it is known whether what
    /// comes next are later messages or those of another log, what was handed out before is not committed: in another log
    /// its offsets stand for other messages.
    func noteResets() {
        state.withLock { state in
            // The reader may have noticed by itself.
            guard resets.now != state.life.knownResets else { return }
            let news = resets.news(since: state.life.knownResets)
            let start = state.position.next ?? startingOffset
            state.life.note(news, next: nil, start: start, isFetched: queue.count > 0)
        }
    }

    /// Whether the partition was reset after something was read, and nothing was read since.
    var isUnresolved: Bool {
        state.withLock { $0.gate.phase == .reading && $0.life.isUnresolved }
    }

    /// Whether an offset is committed, or does not have to be any more.
    func isCommitted(_ target: Committer.Target) -> Bool {
        state.withLock { state in
            state.run != target.run || state.holdsCommits || (state.tracker.committed ?? -1) >= target.offset
        }
    }

    func didCommit(_ target: Committer.Target) {
        let isAwaited = state.withLock { state in
            guard state.run == target.run else { return false }
            state.tracker.didCommit(target.offset, settled: target.settled)
            return noteCommitted(target, &state)
        }
        if isAwaited { core.signal(self) }
    }
}

extension PartitionReader.State {
    /// Whether what could be committed belongs to a log that may be gone. Where crashes are counted, handing out may wait for a
    /// commit, and so does not wait for this; ``PartitionReader/commitTarget(_:)`` looks at the end.
    fileprivate var holdsCommits: Bool { detector == nil && holdsProgress }

    var holdsProgress: Bool { life.holdsCommit(tracker.committable) }
}

extension KafkaError {
    static func notAssigned(_ partition: KafkaTopicPartition) -> KafkaError {
        KafkaError(
            .assignmentEnded,
            recovery: .retry,
            reason: "\(partition) is not assigned to this consumer"
        )
    }
}
