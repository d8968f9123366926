internal import Logging
internal import Synchronization

/// For the consumer's thread.
extension ConsumerCore {
    func takeCommands() -> [Command] {
        state.withLock { state in
            defer { state.commands.removeAll(keepingCapacity: true) }
            return state.commands
        }
    }

    var lateCount: Int { late.load(ordering: .relaxed) }

    var uncommittedCount: Int { uncommitted.load(ordering: .relaxed) }

    func resetUncommittedCount() {
        uncommitted.store(0, ordering: .relaxed)
    }

    /// A partition begins again at another offset: some deliveries are not current any more.
    func noteRestart() {
        restarts.wrappingAdd(1, ordering: .relaxed)
    }

    /// What deliveries are stamped with.
    var stamp: StuckHandlerClock.Stamp { coarseNow.load(ordering: .relaxed) }

    func setStamp(_ stamp: StuckHandlerClock.Stamp) {
        coarseNow.store(stamp, ordering: .relaxed)
    }

    var restartCount: Int { restarts.load(ordering: .relaxed) }

    /// Offers newly assigned partitions to loops over `partitions`.
    func offer(_ readers: [PartitionReader]) {
        resume(
            state.withLock { state in
                state.unseen.append(contentsOf: readers.map { ($0, givenBackBy: 0) })
                return state.matchUnseen()
            }
        )
    }

    /// Ends the loops over partitions; what was handed out of them can still be settled. All at once, so that nothing is looked
    /// through for each.
    func endLoops(of readers: some Collection<PartitionReader>) {
        guard !readers.isEmpty else { return }
        for reader in readers { reader.stop() }
        resume(
            state.withLock { state in
                let resumptions = readers.flatMap { state.ready.end($0) }
                state.unseen.removeAll { $0.reader.readiness.hasEnded }
                return resumptions
            }
        )
    }

    /// Ends all loops with an error: the consumer cannot go on.
    func fail(_ error: KafkaError) {
        resume(
            state.withLock { state in
                if state.failure == nil { state.failure = error }
                return state.endLoops()
            }
        )
    }

    func finish(_ summary: KafkaCloseSummary) {
        // Every partition has ended. One that was kept all the same would keep the consumer. It owns C objects, and so is let
        // go of outside of the lock.
        let (waiters, commands, _, _) = state.withLock { state in
            state.phase = .closed
            state.summary = summary
            defer {
                state.closeWaiters = []
                state.commands = []
                state.assigned = [:]
                state.unseen = []
            }
            return (state.closeWaiters, state.commands, state.assigned, state.unseen)
        }
        for command in commands {
            switch command {
            case .commit(let waiter): waiter.continuation.resume(returning: .closed(persistence: nil))
            case .awaitCommitUnderWay(let wait): wait.resume(true)
            case .restart(let restart): restart.continuation.resume(returning: .closed(persistence: nil))
            default: break
            }
        }
        for waiter in waiters { waiter.resume() }
        events.finish()
    }
}
