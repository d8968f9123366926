internal import Synchronization

/// One task that waits for one value until some time.
package final class TimedWait<Value: Sendable>: Sendable {
    private enum State {
        case idle
        case waiting(CheckedContinuation<Value?, Never>)
        case over(Value?)
    }

    // The thread that brings the value, the time-out and the task meet here.
    private let state = Mutex(State.idle)

    package init() {}

    /// Waits. To be called once.
    ///
    /// - Parameters:
    ///   - deadline: Until when; however far off it is.
    ///   - onWait: Called once the task waits.
    /// - Returns: The value; nil where it did not come in time.
    package func value(
        until deadline: ContinuousClock.Instant,
        isCancellable: Bool = false,
        onWait: () -> Void = {}
    ) async -> Value? {
        let timer = Task.detached { [self] in
            // Time is what is waited for: a call that is late does not say so.
            try? await Task.sleep(until: deadline.asDeadline, clock: .continuous)
            resume(nil)
        }
        defer { timer.cancel() }
        return await waitCancellably { _, continuation in
            let isOver: Value?? = state.withLock { state in
                if case .over(let value) = state { return .some(value) }
                state = .waiting(continuation)
                return nil
            }
            if let value = isOver { return continuation.resume(returning: value) }
            if isCancellable, Task.isCancelled { return resume(nil) }
            onWait()
        } onCancel: { _ in
            if isCancellable { resume(nil) }
        }
    }

    /// Brings the value; only the first one counts.
    package func resume(_ value: Value?) {
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
