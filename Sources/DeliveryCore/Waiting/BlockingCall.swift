/// Calls that block, each on a thread of its own, and a task that waits for one, but no longer than it wants to.
///
/// A task that stops waiting leaves the thread behind, which ends when the call does; what the call needs it must hold
/// itself.
package enum BlockingCall {
    /// Runs a call and waits for it.
    ///
    /// - Parameters:
    ///   - name: The thread's name.
    ///   - deadline: Until when to wait.
    ///   - isCancellable: Whether cancelling the task ends the wait.
    ///   - onStart: Gets what ends the wait early.
    ///   - call: What blocks.
    /// - Returns: What the call returned; nil where it was not waited for, or the system has no thread for it.
    package static func run<Value: Sendable>(
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
