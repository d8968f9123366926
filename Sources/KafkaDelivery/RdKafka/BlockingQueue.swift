internal import DequeModule
internal import Synchronization

/// Runs calls that block, one after the other, on a thread of its own that lives as long as there is something to do.
///
/// One at a time, so that however many tasks ask, one thread waits for the brokers; every call carries its own deadline,
/// which it may have passed before its turn comes.
final class BlockingQueue: Sendable {
    private struct State {
        var jobs: Deque<@Sendable () -> Void> = []
        var isRunning = false
    }

    private let name: String
    // Jobs come from tasks and are taken by the thread.
    private let state = Mutex(State())

    init(_ name: String) {
        self.name = name
    }

    /// Runs something when its turn comes.
    ///
    /// - Returns: False where the system has no thread for it; it then never runs.
    func add(_ job: @escaping @Sendable () -> Void) -> Bool {
        let isRunning = state.withLock { state in
            state.jobs.append(job)
            defer { state.isRunning = true }
            return state.isRunning
        }
        if isRunning || BlockingThread.start(name, { self.work() }) { return true }
        // Whoever added one meanwhile was told that it would run: those are run here, which is better than never.
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

    /// Waits for the result of a call that blocks, without blocking. A task that is cancelled does not wait for it any
    /// longer; the call is made all the same.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable () -> Result<Value, KafkaError>
    ) async -> Result<Value, KafkaError> {
        let waiter = OneWaiter<Result<Value, KafkaError>>()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                waiter.wait(continuation)
                if !add({ waiter.resume(returning: body()) }) {
                    waiter.resume(returning: .failure(.noThread))
                }
                // Cancelled before the waiter was there: its handler has run already and found nobody.
                if Task.isCancelled { waiter.resume(returning: .failure(.cancelled(persistence: nil))) }
            }
        } onCancel: {
            waiter.resume(returning: .failure(.cancelled(persistence: nil)))
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

extension KafkaError {
    static let noThread = KafkaError(
        .client,
        recovery: .retry,
        reason: "the system has no thread left for a call that waits"
    )
}
