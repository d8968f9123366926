internal import Synchronization

/// Waiting until everything has its outcome, and closing.
extension ProducerCore {
    func flush() async throws(KafkaError) {
        if let error = await wait(forTheEnd: false) { throw error }
    }

    /// Waits until every message accepted so far has its outcome, but no longer than until some time.
    ///
    /// - Returns: Whether they have; not where the task was cancelled either.
    func flush(until deadline: ContinuousClock.Instant) async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask { (try? await self.flush()) != nil }
            group.addTask {
                // Time is what is waited for: a broker that does not answer gives no sign.
                try? await Task.sleep(until: deadline, clock: .continuous)
                return false
            }
            defer { group.cancelAll() }
            return await group.next() ?? false
        }
    }

    /// Sends at once what lingers, for as long as a task waits for it. Where the system has no thread for it, it is sent when its
    /// time has come.
    ///
    /// `rd_kafka_flush` waits until nothing is in flight, which on a busy producer may be never; so one thread does it, in
    /// short turns.
    private func sendLingering() {
        let isRunning = isFlushing.withLock { isFlushing in
            defer { isFlushing = true }
            return isFlushing
        }
        guard !isRunning else { return }
        let isStarted = BlockingThread.start("kafka-flush") { [self] in
            while isAwaited() {
                // All is sent, and nothing signals this thread when the producer's thread has told the waiting task: that would be one
                // more wake-up for each flush, to save a few looks where a task computes on that thread.
                if client?.flush(within: .milliseconds(50)) ?? true { RdKafkaClient.pause(milliseconds: 1) }
            }
        }
        if !isStarted { isFlushing.withLock { $0 = false } }
    }

    /// Whether a task still waits for what lingers. One that comes after this has found that none does starts a thread.
    private func isAwaited() -> Bool {
        isFlushing.withLock { isFlushing in
            isFlushing = waitQueue.withLock { $0.isAwaited }
            return isFlushing
        }
    }

    /// Begins to close, or brings an earlier deadline forward, and waits for the end.
    ///
    /// - Parameter patience: How long it may take beyond that until librdkafka's threads have ended.
    @discardableResult
    func close(within timeout: Duration, patience: Duration = .seconds(1)) async -> KafkaCloseSummary {
        let deadline = ContinuousClock.now.advanced(by: timeout.asTimeout + patience)
        beginClosing(within: timeout)
        // Closing is not cut short by cancellation: it ends by its deadline, and the sends need their outcomes.
        _ = await wait(forTheEnd: true)
        await clientEnd.waitAfterClosing(until: deadline)
        return waitQueue.withLock { $0.summary }
    }

    func beginClosing(within timeout: Duration) {
        let deadline = Moment.now.advanced(by: timeout.asTimeout)
        // First the path: where the thread sees that the wait queue is closing, nothing new is accepted any more.
        path.close()
        for waiter in waitQueue.withLock({ $0.beginClosing(by: deadline) }) {
            waiter.continuation.resume(returning: .closed())
        }
        if lingers { sendLingering() }
        queue.interrupt()
    }

    /// Waits until everything accepted before has its outcome, or until the producer is closed.
    ///
    /// - Parameter isForTheEnd: Whether to wait for the latter, and not to be cancelled.
    private func wait(forTheEnd isForTheEnd: Bool) async -> KafkaError? {
        await waitCancellably { id, continuation in
            let waiter = SendWaitQueue.FlushWaiter(id: id, isForTheEnd: isForTheEnd, continuation: continuation)
            guard waitQueue.withLock({ $0.add(waiter) }) else { return continuation.resume(returning: nil) }
            if lingers { sendLingering() }
            // The thread knows which sends there are.
            queue.interrupt()
        } onCancel: { id in
            if !isForTheEnd { cancelFlushWaiter(id) }
        }
    }

    private func cancelFlushWaiter(_ id: UInt64) {
        let waiter = waitQueue.withLock { $0.cancelFlushWaiter(id) }
        waiter?.continuation.resume(returning: .cancelled(persistence: nil))
    }
}
