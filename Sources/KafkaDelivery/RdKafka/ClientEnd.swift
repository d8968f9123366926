internal import Synchronization

/// The end of a client: librdkafka's threads have ended, and nothing more is sent.
final class ClientEnd: Sendable {
    private enum Phase {
        case inUse
        /// Its owner has let go of it, and something else still holds it.
        case held
        /// It is being destroyed.
        case unused
        case over
    }

    private struct State {
        var phase = Phase.inUse
        var waiters: [TimedWait<Bool>] = []
    }

    /// How long closing waits for what else holds the client: tasks that are on their way out of a loop or of a call let go of
    /// it by themselves. Deliveries that the application keeps hold it for as long as they are kept, and say nothing of that.
    private static let patience = Duration.milliseconds(250)

    // The thread that destroys the client, its owner and the tasks that wait for it meet here.
    private let state = Mutex(State())

    /// The owner has let go of the client.
    ///
    /// - Parameter isHeld: Whether something else holds it.
    func noteLetGo(isHeld: Bool) {
        advance(to: isHeld ? .held : .unused)
    }

    /// Nothing holds the client any longer.
    func noteUnused() {
        advance(to: .unused)
    }

    /// librdkafka's threads have ended.
    func note() {
        advance(to: .over)
    }

    private func advance(to phase: Phase) {
        let waiters = state.withLock { state in
            switch (state.phase, phase) {
            case (.over, _), (.unused, .held): break
            default: state.phase = phase
            }
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(true) }
    }

    var isOver: Bool { state.withLock { $0.phase == .over } }

    /// Waits for it; not longer than until then, nor in a task that is cancelled.
    ///
    /// - Returns: Whether it has come.
    @discardableResult
    func wait(until deadline: ContinuousClock.Instant) async -> Bool {
        await wait(until: deadline, isCancellable: true) { _ in nil }
    }

    /// Waits for it at the end of closing, which cancellation does not cut short; not longer than until then, and not for what
    /// the application keeps.
    ///
    /// - Returns: Whether it has come.
    @discardableResult
    func waitAfterClosing(until deadline: ContinuousClock.Instant) async -> Bool {
        await wait(until: deadline, isCancellable: false) { phase in
            phase == .held ? .now.advanced(by: Self.patience) : nil
        }
    }

    private func wait(
        until deadline: ContinuousClock.Instant,
        isCancellable: Bool,
        limit: (Phase) -> ContinuousClock.Instant?
    ) async -> Bool {
        while true {
            let wait = TimedWait<Bool>()
            let phase = state.withLock { state in
                if state.phase != .over { state.waiters.append(wait) }
                return state.phase
            }
            if phase == .over { return true }
            let until = limit(phase).map { min($0, deadline) } ?? deadline
            guard await wait.value(until: until, isCancellable: isCancellable) != nil else { return isOver }
        }
    }
}
