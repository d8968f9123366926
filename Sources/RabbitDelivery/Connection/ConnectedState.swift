internal import DeliveryCore
internal import Synchronization

/// Whether a client has a channel now, and the tasks that wait for one.
final class ConnectedState: Sendable {
    private struct State {
        var isConnected = false
        var failure: RabbitError?
        var lastProblem: RabbitError?
        var waiters: [UInt64: TimedWait<Result<Void, RabbitError>>] = [:]
    }

    // Tasks that wait meet the connection's thread here.
    private let state = Mutex(State())

    func note(_ event: RabbitEvent) {
        switch event {
        case .connected: resolve(.success(())) { $0.isConnected = true }
        case .disconnected(let error), .channelClosed(let error):
            state.withLock { state in
                state.isConnected = false
                state.lastProblem = error
            }
        case .connectionFailed(let error, _): state.withLock { $0.lastProblem = error }
        case .failed(let error): end(error)
        default: break
        }
    }

    /// There will be no channel any more.
    func end(_ error: RabbitError) {
        resolve(.failure(error)) { state in
            state.isConnected = false
            state.failure = state.failure ?? error
        }
    }

    private func resolve(_ result: Result<Void, RabbitError>, _ change: (inout State) -> Void) {
        let waiters = state.withLock { state in
            change(&state)
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume(result) }
    }

    func wait(within timeout: Duration) async throws(RabbitError) {
        let wait = TimedWait<Result<Void, RabbitError>>()
        let id = WaiterID.next()
        let now: Result<Void, RabbitError>? = state.withLock { state in
            if let failure = state.failure { return .failure(failure) }
            if state.isConnected { return .success(()) }
            state.waiters[id] = wait
            return nil
        }
        if let now { return try now.get() }
        let result = await wait.value(until: .after(timeout), isCancellable: true)
        let problem = state.withLock { state in
            state.waiters[id] = nil
            return state.lastProblem
        }
        if let result { return try result.get() }
        if Task.isCancelled { throw .cancelled(persistence: nil) }
        let reason = problem.map { ": \($0.reason)" } ?? ""
        throw RabbitError(.timedOut, recovery: .retry, reason: "there is no connection within \(timeout)\(reason)")
    }
}
