internal import Synchronization

/// The end of a client: librdkafka's threads have ended, and nothing more is sent.
final class ClientEnd: Sendable {
    private struct State {
        var isOver = false
        var waiters: [TimedWait<Bool>] = []
    }

    // The thread that destroys the client and the tasks that wait for it meet here.
    private let state = Mutex(State())

    func note() {
        let waiters = state.withLock { state in
            state.isOver = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(true) }
    }

    /// Waits for it; not longer than until then, nor in a task that is cancelled.
    ///
    /// - Returns: Whether it has come.
    @discardableResult
    func wait(until deadline: ContinuousClock.Instant) async -> Bool {
        let wait = TimedWait<Bool>()
        let isOver = state.withLock { state in
            if !state.isOver { state.waiters.append(wait) }
            return state.isOver
        }
        if isOver { return true }
        return await wait.value(until: deadline, isCancellable: true) ?? false
    }
}
