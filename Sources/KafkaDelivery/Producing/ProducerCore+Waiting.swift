internal import DequeModule
internal import Synchronization

/// Waiting until everything has its outcome, and closing.
extension ProducerCore {
    func flush() async throws(KafkaError) {
        if lingers { sendLingering() }
        let error = await waitForBarrier { $0.lastSequence }
        if let error { throw error }
    }

    /// Waits until every message accepted so far has its outcome, but no longer than until some time.
    ///
    /// - Returns: Whether they have; not where the task was cancelled either.
    func flush(until deadline: ContinuousClock.Instant) async -> Bool {
        if ledger.withLock({ $0.count == 0 }) { return true }
        return await withTaskGroup(of: Bool.self) { group in
            group.addTask { (try? await self.flush()) != nil }
            group.addTask {
                // Time is what is waited for.
                try? await Task.sleep(until: deadline, clock: .continuous)
                return false
            }
            defer { group.cancelAll() }
            return await group.next() ?? false
        }
    }

    /// Sends at once what lingers. Where the system has no thread for it, it is sent when its time has come.
    ///
    /// `rd_kafka_flush` waits until nothing is in flight, which on a busy producer may be never; so one thread does it,
    /// in short turns, until what was in flight when it was last asked for has been sent.
    private func sendLingering() {
        let target = ledger.withLock { $0.lastSequence }
        let isRunning = flushTarget.withLock { current in
            defer { current = max(target, current ?? 0) }
            return current != nil
        }
        guard !isRunning else { return }
        let isStarted = BlockingThread.start("kafka-flush") { [self] in
            while isLingering() { client.flush(within: .milliseconds(50)) }
        }
        if !isStarted { flushTarget.withLock { $0 = nil } }
    }

    /// Whether something that is to be flushed is still in flight.
    private func isLingering() -> Bool {
        flushTarget.withLock { target in
            let isOver = ledger.withLock { $0.phase == .closed || $0.isPast(target ?? 0) }
            if isOver { target = nil }
            return !isOver
        }
    }

    /// Begins to close, or brings an earlier deadline forward, and waits for the end.
    @discardableResult
    func close(within timeout: Duration) async -> KafkaProducer.CloseSummary {
        beginClosing(within: timeout)
        // Closing is not cut short by cancellation: it ends by its deadline, and the sends need their outcomes.
        while ledger.withLock({ $0.phase }) != .closed {
            _ = await waitForBarrier(isCancellable: false) { _ in .max }
        }
        return ledger.withLock { $0.summary }
    }

    func beginClosing(within timeout: Duration) {
        let deadline = clock.now.advanced(by: timeout.asTimeout)
        // First the ledger: where the thread sees the deadline, nothing new is admitted any more.
        for waiter in ledger.withLock({ $0.beginClosing() }) {
            waiter.continuation.resume(returning: .closed())
        }
        closing.withLock { closing in
            closing = Closing(
                deadline: min(deadline, closing?.deadline ?? deadline),
                purgeDeadline: closing?.purgeDeadline
            )
        }
        if lingers { sendLingering() }
        queue.interrupt()
    }

    private func waitForBarrier(
        isCancellable: Bool = true,
        upTo sequence: @Sendable (borrowing SendLedger) -> UInt64
    ) async -> KafkaError? {
        let id = WaiterID.next()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = ledger.withLock { ledger in
                    let sequence = sequence(ledger)
                    if ledger.phase == .closed || (sequence != .max && ledger.isPast(sequence)) { return true }
                    ledger.add(SendLedger.Barrier(id: id, sequence: sequence, continuation: continuation))
                    return false
                }
                if isOver { continuation.resume(returning: nil) }
                if isCancellable, Task.isCancelled { cancelBarrier(id) }
            }
        } onCancel: {
            if isCancellable { cancelBarrier(id) }
        }
    }

    private func cancelBarrier(_ id: UInt64) {
        let barrier = ledger.withLock { $0.cancelBarrier(id) }
        barrier?.continuation.resume(returning: .cancelled(persistence: nil))
    }

    func settleBarriers() {
        for barrier in ledger.withLock({ $0.passedBarriers() }) {
            barrier.continuation.resume(returning: nil)
        }
    }
}
