internal import Synchronization

/// Calls that block, each on a thread of its own, and somebody who waits for one, but no longer than he wants to.
///
/// Whoever stops waiting leaves the thread behind, which ends when the call does; what the call needs it must hold
/// itself.
enum BlockingCall {
    /// Runs a call and waits for it.
    ///
    /// - Parameters:
    ///   - name: The thread's name.
    ///   - deadline: Until when to wait.
    ///   - isCancellable: Whether cancelling the task ends the wait.
    ///   - onStart: Gets what ends the wait early.
    ///   - call: What blocks.
    /// - Returns: What the call returned; nil where it was not waited for, or the system has no thread for it.
    static func run<Value: Sendable>(
        _ name: String,
        until deadline: ContinuousClock.Instant,
        isCancellable: Bool = false,
        onStart: (@escaping @Sendable () -> Void) -> Void = { _ in },
        _ call: @escaping @Sendable () -> Value
    ) async -> Value? {
        let wait = TimedWait<Value>()
        onStart { wait.resume(nil) }
        return await wait.value(until: deadline, isCancellable: isCancellable) {
            if !BlockingThread.start(name, { wait.resume(call()) }) { wait.resume(nil) }
        }
    }
}

/// One task that waits for one value until some time.
final class TimedWait<Value: Sendable>: Sendable {
    private enum State {
        case idle
        case waiting(CheckedContinuation<Value?, Never>)
        case over(Value?)
    }

    // Who brings the value, the time-out and the task meet here.
    private let state = Mutex(State.idle)

    /// Waits. To be called once.
    ///
    /// - Parameter onWait: Called once somebody waits.
    /// - Returns: The value; nil where it did not come in time.
    func value(
        until deadline: ContinuousClock.Instant,
        isCancellable: Bool = false,
        onWait: () -> Void = {}
    ) async -> Value? {
        let timer = Task.detached { [self] in
            // Time is what is waited for: whoever is late does not say so.
            try? await Task.sleep(until: deadline, clock: .continuous)
            resume(nil)
        }
        defer { timer.cancel() }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver: Value?? = state.withLock { state in
                    if case .over(let value) = state { return .some(value) }
                    state = .waiting(continuation)
                    return nil
                }
                if let value = isOver { return continuation.resume(returning: value) }
                if isCancellable, Task.isCancelled { return resume(nil) }
                onWait()
            }
        } onCancel: {
            if isCancellable { resume(nil) }
        }
    }

    /// Brings the value; only the first one counts.
    func resume(_ value: Value?) {
        let continuation: CheckedContinuation<Value?, Never>? = state.withLock { state in
            switch state {
            case .over: return nil
            case .idle:
                state = .over(value)
                return nil
            case .waiting(let continuation):
                state = .over(value)
                return continuation
            }
        }
        continuation?.resume(returning: value)
    }
}
