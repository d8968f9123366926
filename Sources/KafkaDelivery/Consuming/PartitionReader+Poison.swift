internal import Synchronization

/// Looking for messages that kill processes: the shell around ``PoisonDetector``. Without one, nothing here does anything.
extension PartitionReader {
    // MARK: Under the lock

    /// Whether a message that was read for the first time may be handed out now.
    func mayHandOut(_ offset: Int64, _ state: inout State, _ asksThread: inout Bool) -> Bool {
        guard state.detector != nil else { return true }
        switch state.detector?.offer(offset, uncommitted: state.tracker.uncommittedSequences) {
        case .handOut, nil: return true
        case .wait: return false
        case .ask:
            asksThread = true
            return false
        }
    }

    /// A delivery was acknowledged.
    ///
    /// - Returns: Whether the thread should commit at once, because handing out waits for it.
    func noteSettled(_ state: inout State) -> Bool {
        guard state.detector != nil else { return false }
        let (isLast, isCommittable) = (state.tracker.windowCount == 0, state.tracker.commitTarget != nil)
        return state.detector?.settled(isLast: isLast, isCommittable: isCommittable) ?? false
    }

    /// Whether the thread waits until nothing of this partition is in hand, and that is so.
    func isWaitedFor(_ state: inout State) -> Bool {
        (state.gate.phase == .stopped || state.detector?.isOneAtATime == true) && state.tracker.heldCount == 0
    }

    func commitTarget(_ state: State) -> Committer.Target? {
        // Nothing waits for this one any more, and in another log the offset would skip messages.
        let isHeld = state.gate.phase != .reading && state.holdsProgress
        let progress = isHeld ? nil : state.tracker.commitTarget
        guard let detector = state.detector else {
            return progress.map {
                Committer.Target(reader: self, offset: $0, run: state.run, settled: state.tracker.firstSequence)
            }
        }
        let target = detector.target(
            progress: progress,
            committed: state.tracker.committed,
            isHeld: isHeld,
            isCleanEnd: state.gate.phase == .stopped && state.tracker.heldCount == 0
        )
        return target.map {
            Committer.Target(
                reader: self,
                offset: $0.offset,
                run: state.run,
                settled: state.tracker.firstSequence,
                note: $0.note
            )
        }
    }

    /// A commit was confirmed.
    ///
    /// - Returns: Whether handing out may have waited for it.
    func noteCommitted(_ target: Committer.Target, _ state: inout State) -> Bool {
        guard state.detector != nil else { return false }
        state.detector?.didCommit(target.offset, target.note, settled: state.tracker.committedSequence)
        return state.pending != nil
    }

    /// A transaction committed the partition, with no text beside the offset.
    func noteTransaction(at offset: Int64, _ state: inout State) {
        guard state.detector != nil else { return }
        if state.tracker.windowCount == 0 { state.detector?.settledAll() }
        state.detector?.didCommit(offset, .none, settled: state.tracker.committedSequence)
    }

    // MARK: For the consumer's thread

    /// Counts crashes from the beginning of this generation on.
    func detectPoison(maximumCrashes maximum: Int) {
        state.withLock { $0.detector = PoisonDetector(maximumCrashes: maximum) }
    }

    /// Goes on without counting: what would have to be noted cannot be.
    func stopDetecting() {
        state.withLock { $0.detector = nil }
        core.signal(self)
    }

    /// Takes what the group has committed.
    ///
    /// - Parameter isOwn: Whether this process wrote it.
    /// - Returns: How many processes have died here, where that is too many.
    func read(_ entry: PartitionOffset, isOwn: Bool) -> Int? {
        let note = CrashRecord(metadata: entry.metadata)
        let offset = entry.offset >= 0 ? entry.offset : nil
        let crashes = state.withLock { state -> Int? in
            state.detector?.read(note, at: offset, isOwn: isOwn)
            return state.detector?.needsProbing == true ? state.detector?.earlierCrashes : nil
        }
        core.signal(self)
        return crashes
    }

    /// Whether the consumer hands out one message at a time.
    var isOneAtATime: Bool {
        state.withLock { $0.detector?.isOneAtATime == true }
    }

    func setOneAtATime(_ isOneAtATime: Bool) {
        state.withLock { $0.detector?.setOneAtATime(isOneAtATime) }
        if !isOneAtATime { core.signal(self) }
    }

    /// Some partition's message is being probed, or none is any more: then what was rejected may come again, and what was read
    /// may ask for its turn.
    func setProbeOut(_ isProbeOut: Bool) {
        let isAwaited = state.withLock { state in
            state.detector?.isProbeOut = isProbeOut
            return !isProbeOut && !(state.rejected.isEmpty && state.pending == nil)
        }
        if isAwaited { core.signal(self) }
    }

    func beginTurn() {
        state.withLock { $0.detector?.beginTurn() }
    }

    /// Hands out the message whose probe is noted.
    func grantTurn() {
        if state.withLock({ $0.detector?.grantTurn() ?? false }) { core.signal(self) }
    }
}

/// What ``CrashCounting`` looks at.
extension PartitionReader: ProbedPartition {
    var needsProbing: Bool {
        state.withLock { $0.gate.phase == .reading && $0.detector?.needsProbing == true }
    }

    var wantsTurn: Bool {
        state.withLock { state in
            guard state.gate.phase == .reading, case .wanted = state.detector?.turn else { return false }
            return true
        }
    }

    var hasSuspect: Bool {
        state.withLock { state in state.pending.map { state.detector?.isSuspect($0.offset) ?? false } ?? false }
    }

    var isProbeStored: Bool {
        state.withLock { $0.detector?.stored.probe != nil }
    }

    func endTurnIfOver() -> Bool {
        state.withLock { state in
            guard state.gate.phase == .reading else { return state.tracker.heldCount == 0 }
            // No loop can take it meanwhile, and the other partitions would wait. It asks again.
            if state.gate.isHeld { state.detector?.returnTurn() }
            switch state.detector?.turn {
            case .taken where state.tracker.heldCount == 0:
                state.detector?.endTurn()
                return true
            case .none?, nil: return true
            case .wanted, .noting, .granted, .taken: return false
            }
        }
    }
}
