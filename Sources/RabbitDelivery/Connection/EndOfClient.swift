internal import Synchronization

/// The end of a client's thread, and the tasks that wait for it.
final class EndOfClient<Summary: Sendable>: Sendable {
    private enum State {
        case running([CheckedContinuation<Summary, Never>])
        case ended(Summary)
    }

    private let state = Mutex(State.running([]))

    var hasEnded: Bool {
        state.withLock { state in
            if case .ended = state { true } else { false }
        }
    }

    func end(_ summary: Summary) {
        let waiters = state.withLock { state in
            guard case .running(let waiters) = state else { return [] as [CheckedContinuation<Summary, Never>] }
            state = .ended(summary)
            return waiters
        }
        for waiter in waiters { waiter.resume(returning: summary) }
    }

    func wait() async -> Summary {
        await withCheckedContinuation { continuation in
            let summary: Summary? = state.withLock { state in
                switch state {
                case .running(let waiters):
                    state = .running(waiters + [continuation])
                    return nil
                case .ended(let summary): return summary
                }
            }
            if let summary { continuation.resume(returning: summary) }
        }
    }
}
