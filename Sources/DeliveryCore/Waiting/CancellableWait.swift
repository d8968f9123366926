internal import Synchronization

/// Numbers that tell waiters apart, so that cancelling one wakes that one.
@usableFromInline
package enum WaiterID {
    private static let last = Atomic<UInt64>(0)

    @usableFromInline
    package static func next() -> UInt64 {
        last.wrappingAdd(1, ordering: .relaxed).newValue
    }
}

/// Suspends the calling task until its continuation is resumed. Cancelling the task calls `cancel`, which has to resume the
/// waiter that has the number, if it is still waiting.
///
/// The race of the two is decided here and nowhere else: the cancellation handler of a task that is cancelled before its
/// waiter is registered runs too early and finds no waiter, so `cancel` is called once more after the registration. It is
/// called at most twice, and must do nothing where there is no waiter of that number any more.
///
/// - Parameters:
///   - id: The waiter's number.
///   - register: Called once, at once: notes the waiter where what ends the wait finds it, or resumes the continuation.
///   - cancel: Takes the waiter out of where it was noted, and resumes it if it was there. From any thread.
@inlinable
package func waitCancellably<Value: Sendable>(
    as id: UInt64 = WaiterID.next(),
    register: (UInt64, CheckedContinuation<Value, Never>) -> Void,
    onCancel cancel: @Sendable (UInt64) -> Void
) async -> Value {
    await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
            register(id, continuation)
            if Task.isCancelled { cancel(id) }
        }
    } onCancel: {
        cancel(id)
    }
}

/// The same wait where every message has one and an allocation for each would be felt: the continuation is not checked, and the
/// waiter is known without a number.
///
/// - Parameters:
///   - register: Called once, at once: notes the waiter, or resumes the continuation.
///   - cancel: Resumes the waiter if it is still there. From any thread, at most twice.
@inlinable
package func waitCancellablyUnchecked(
    register: (UnsafeContinuation<Void, Never>) -> Void,
    onCancel cancel: @Sendable () -> Void
) async {
    await withTaskCancellationHandler {
        await withUnsafeContinuation { continuation in
            register(continuation)
            if Task.isCancelled { cancel() }
        }
    } onCancel: {
        cancel()
    }
}
