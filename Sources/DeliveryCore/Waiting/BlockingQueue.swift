internal import DequeModule
internal import Synchronization

/// Runs calls that block, one after the other, on a thread of its own that lives as long as there is something to do.
///
/// One at a time, so that however many tasks ask, one thread waits for the brokers; every call carries its own deadline,
/// which it may have passed before its turn comes.
package final class BlockingQueue: Sendable {
    /// Why a call's result was not waited for.
    package enum Unanswered {
        /// The task was cancelled; the call is made all the same.
        case cancelled
        /// The system has no thread for it, and it is not made.
        case noThread
    }

    private struct State {
        var jobs: Deque<@Sendable () -> Void> = []
        var isRunning = false
    }

    private let name: String
    // Jobs come from tasks and are taken by the thread.
    private let state = Mutex(State())

    package init(_ name: String) {
        self.name = name
    }

    /// Runs something when its turn comes.
    ///
    /// - Returns: False where the system has no thread for it; it then never runs.
    package func add(_ job: @escaping @Sendable () -> Void) -> Bool {
        let isRunning = state.withLock { state in
            state.jobs.append(job)
            defer { state.isRunning = true }
            return state.isRunning
        }
        if isRunning || BlockingThread.start(name, { self.work() }) { return true }
        // The tasks that added one meanwhile were told that it would run: those are run here, which is better than never.
        let jobs = state.withLock { state in
            state.isRunning = false
            defer { state.jobs = [] }
            return state.jobs
        }
        for job in jobs.dropFirst() { job() }
        return false
    }

    private func work() {
        while let job = next() { job() }
    }

    private func next() -> (@Sendable () -> Void)? {
        state.withLock { state in
            let job = state.jobs.popFirst()
            if job == nil { state.isRunning = false }
            return job
        }
    }

    /// Waits for the result of a call that blocks, without blocking.
    ///
    /// - Parameters:
    ///   - unanswered: What to return where the call's own result is not waited for.
    ///   - body: What blocks.
    package func run<Value: Sendable>(
        otherwise unanswered: @escaping @Sendable (Unanswered) -> Value,
        _ body: @escaping @Sendable () -> Value
    ) async -> Value {
        let waiter = OneWaiter<Value>()
        return await waitCancellably { _, continuation in
            waiter.wait(continuation)
            if !add({ waiter.resume(returning: body()) }) { waiter.resume(returning: unanswered(.noThread)) }
        } onCancel: { _ in
            waiter.resume(returning: unanswered(.cancelled))
        }
    }
}

/// A task that waits for whatever comes first.
private final class OneWaiter<Value: Sendable>: Sendable {
    private let continuation = Mutex<CheckedContinuation<Value, Never>?>(nil)

    func wait(_ new: CheckedContinuation<Value, Never>) {
        continuation.withLock { $0 = new }
    }

    func resume(returning value: Value) {
        continuation.withLock { $0.take() }?.resume(returning: value)
    }
}
