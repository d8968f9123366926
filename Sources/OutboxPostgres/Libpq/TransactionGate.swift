internal import DeliveryCore
internal import Synchronization

/// Keeps other tasks' statements out of a transaction on the same connection.
final class TransactionGate: Sendable {
    private struct State {
        var isClosed = false
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
    }

    // Tasks that pass, close and open it meet here.
    private let state = Mutex(State())

    /// Runs `body` unless a transaction is open.
    ///
    /// - Parameter body: Queues a statement; runs under the lock, so that no transaction begins before it is queued.
    /// - Returns: Whether it was run.
    func pass(_ body: () -> Void) -> Bool {
        state.withLock { state in
            if !state.isClosed { body() }
            return !state.isClosed
        }
    }

    /// Waits for one's turn, and closes it.
    ///
    /// - Throws: `CancellationError` where the task is cancelled before that.
    func close() async throws {
        while !tryToClose() {
            await waitUntilOpened()
            try Task.checkCancellation()
        }
    }

    /// Lets others in.
    func open() {
        let waiters = state.withLock { state in
            state.isClosed = false
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume() }
    }

    /// Waits until it was opened once, or the task is cancelled.
    func waitUntilOpened() async {
        await waitCancellably { id, continuation in
            let isOpen = state.withLock { state in
                if state.isClosed { state.waiters[id] = continuation }
                return !state.isClosed
            }
            if isOpen { continuation.resume() }
        } onCancel: { id in
            state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
        }
    }

    private func tryToClose() -> Bool {
        state.withLock { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
    }
}
