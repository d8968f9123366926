internal import Logging
internal import Synchronization

/// What becomes of deliveries. Called from any task.
extension PartitionReader {
    func acknowledge(_ message: ReceivedMessage) -> VerdictEffect {
        let sequence = message.sequence
        var hasRoom = false
        var isDrained = false
        var asksThread = false
        let verdict = state.withLock { state in
            if let later = message.give(.acknowledged) { return later }
            guard state.gate.phase != .ended else {
                isDrained = state.letGo(of: sequence)
                return VerdictEffect.ended
            }
            guard state.tracker.settle(sequence) == .settled else { return state.afterthought(on: sequence) }
            asksThread = noteSettled(&state)
            if state.isWindowFull, state.tracker.windowCount < window {
                state.isWindowFull = false
                hasRoom = true
            }
            isDrained = isWaitedFor(&state)
            return .settled
        }
        if verdict == .settled { core.noteAcknowledged() } else { noteLate(verdict, of: message) }
        if asksThread { core.askThread(for: self) }
        if hasRoom { core.signal(self) }
        if isDrained { core.interrupt() }
        return verdict
    }

    /// Hands the message out again when the delay is over, before anything later of the partition where it holds that.
    ///
    /// - Parameter new: `rejected`, or `postponed` where it was no attempt.
    func reject(
        _ message: ReceivedMessage,
        as new: ReceivedMessage.GivenVerdict,
        after delay: Duration,
        holdsPartition: Bool
    ) -> VerdictEffect {
        let due = core.backoff.now.advanced(by: min(max(delay, .zero), .seconds(1 << 40)))
        var isDrained = false
        let verdict = state.withLock { state in
            if let later = message.give(new) { return later }
            guard state.gate.phase != .ended else {
                isDrained = state.letGo(of: message.sequence)
                return VerdictEffect.ended
            }
            guard state.tracker.reject(message.sequence) == .settled else {
                return state.afterthought(on: message.sequence)
            }
            isDrained = isWaitedFor(&state)
            state.keep(message, due: due, holdsPartition: holdsPartition)
            return .settled
        }
        switch verdict {
        case .settled where delay > .zero: core.wake(self, at: due)
        case .settled: core.signal(self)
        case .repeated, .contradicted, .ended: noteLate(verdict, of: message)
        }
        if isDrained { core.interrupt() }
        return verdict
    }

    func noteRejection(_ delivery: KafkaConsumer.Delivery, _ error: (any Error)?, _ delay: Duration) {
        core.logger.debug(
            "Delivery failed, to be handed over again",
            metadata: [
                "kafka_delivery": "\(delivery)", "kafka_attempt": "\(delivery.attempt)", "kafka_delay": "\(delay)",
                "kafka_error": "\(error.map { String(describing: $0) } ?? "")",
            ]
        )
    }

    /// A verdict changed nothing.
    private func noteLate(_ verdict: VerdictEffect, of message: ReceivedMessage) {
        switch verdict {
        case .settled, .repeated: break
        case .contradicted: core.reportContradiction(partition, offset: message.offset, attempt: message.attempt)
        case .ended: core.noteLate(partition)
        }
    }

    var isReading: Bool { state.withLock { $0.gate.phase == .reading } }

    /// Whether the partition is still ours, so that something can be committed.
    var isOurs: Bool { state.withLock { $0.gate.phase != .ended } }

    /// Whether everything that the partition held was handed out.
    var isAtEnd: Bool { state.withLock { $0.position.isAtEnd } }

    /// Whether a verdict on a delivery would still count, and more of the partition is handed out.
    func isCurrent(_ sequence: OffsetTracker.Sequence) -> Bool {
        state.withLock { $0.gate.phase == .reading && !$0.tracker.isOutdated(sequence) }
    }

    /// Whether a verdict on a delivery would still count, also where nothing more of the partition is handed out.
    func takesVerdict(on sequence: OffsetTracker.Sequence) -> Bool {
        state.withLock { $0.gate.phase != .ended && !$0.tracker.isOutdated(sequence) }
    }

    /// Whether a delivery has no verdict yet, or one that hands it out again.
    func isUnsettled(_ sequence: OffsetTracker.Sequence) -> Bool {
        state.withLock { $0.gate.phase != .ended && $0.tracker.isUnsettled(sequence) }
    }

    /// The last reference to a delivery went without a verdict.
    func abandon(_ sequence: OffsetTracker.Sequence) {
        let isDrained = state.withLock { state in
            let isFree = state.letGo(of: sequence)
            return isWaitedFor(&state) || isFree
        }
        if isDrained { core.interrupt() }
    }
}

extension PartitionReader.State {
    /// The application does not hold a delivery any longer.
    ///
    /// - Returns: Whether it was the last that was stuck of a partition that was given up: the consumer's thread may wait
    ///   for that.
    fileprivate mutating func letGo(of sequence: OffsetTracker.Sequence) -> Bool {
        let wasStuck = tracker.stuckCount > 0
        tracker.abandon(sequence)
        return gate.phase != .reading && wasStuck && tracker.stuckCount == 0
    }

    /// Keeps a rejected message until it is handed out again, unless nothing of the partition will be.
    mutating func keep(_ message: ReceivedMessage, due: ContinuousClock.Instant, holdsPartition: Bool) {
        guard gate.phase == .reading else { return }
        rejected.keep(message, message.sequence, due: due, holdsPartition: holdsPartition)
    }

    /// What a verdict is that changes nothing.
    fileprivate func afterthought(on sequence: OffsetTracker.Sequence) -> VerdictEffect {
        tracker.isOutdated(sequence) ? .ended : .repeated
    }
}
