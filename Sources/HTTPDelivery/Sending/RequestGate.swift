internal import DeliveryCore
internal import Synchronization

/// Lets requests through when it is their turn, and none once it is closed.
final class RequestGate: Sendable {
    /// What a request was told.
    enum Entry {
        case go
        case cancelled
        case closed
    }

    private struct State {
        var turns: RequestTurns
        var waiting: [UInt64: CheckedContinuation<Entry, Never>] = [:]
        /// What ends the requests that are being sent before their time.
        var ends: [UInt64: TimedWait<Void>] = [:]
        var isClosed = false
        /// The deadline has passed: what begins now is ended at once.
        var isOver = false
        var idle: TimedWait<Void>?
    }

    // Tasks that send, their cancellation handlers and the task that closes meet here; nothing is resumed inside.
    private let state: Mutex<State>

    init(places: Int) {
        state = Mutex(State(turns: RequestTurns(places: places)))
    }

    /// Waits for the turn of a request.
    func enter(key: String?) async -> Entry {
        await waitCancellably { id, continuation in
            let entry: Entry? = state.withLock { state in
                if state.isClosed { return .closed }
                if state.turns.enter(id, key: key) { return .go }
                state.waiting[id] = continuation
                return nil
            }
            if let entry { continuation.resume(returning: entry) }
        } onCancel: { id in
            let continuation = state.withLock { state -> CheckedContinuation<Entry, Never>? in
                guard let continuation = state.waiting[id], state.turns.cancel(id, key: key) else { return nil }
                state.waiting[id] = nil
                return continuation
            }
            continuation?.resume(returning: .cancelled)
            leftIdle()
        }
    }

    /// A request that was let through has its outcome.
    func leave(key: String?) {
        let continuations = state.withLock { state in
            state.turns.leave(key).compactMap { state.waiting.removeValue(forKey: $0) }
        }
        for continuation in continuations { continuation.resume(returning: .go) }
        leftIdle()
    }

    private func leftIdle() {
        state.withLock { $0.turns.isIdle ? $0.idle : nil }?.resume(())
    }

    /// Notes what ends a request that is being sent.
    func begin(_ id: UInt64, end: TimedWait<Void>) {
        let isOver = state.withLock { state in
            if !state.isOver { state.ends[id] = end }
            return state.isOver
        }
        if isOver { end.resume(()) }
    }

    /// A request is no longer being sent.
    func finish(_ id: UInt64) {
        state.withLock { $0.ends[id] = nil }
    }

    /// Whether requests are ended because the destination closes.
    var isOver: Bool { state.withLock { $0.isOver } }

    /// How many wait for their turn.
    var waitingCount: Int { state.withLock { $0.waiting.count } }

    /// Lets no more requests come, and waits for those that have.
    ///
    /// - Returns: How many were being sent at the deadline, and how many had not begun; those are ended. nil where another
    ///   task has closed it.
    func close(until deadline: ContinuousClock.Instant) async -> (ended: Int, unsent: Int)? {
        let idle = TimedWait<Void>()
        let (isFirst, isIdle) = state.withLock { state in
            guard !state.isClosed else { return (false, true) }
            state.isClosed = true
            state.idle = idle
            return (true, state.turns.isIdle)
        }
        guard isFirst else { return nil }
        if !isIdle { _ = await idle.value(until: deadline) }
        let (ends, waiting) = state.withLock { state in
            state.isOver = true
            defer { state.waiting = [:] }
            return (Array(state.ends.values), Array(state.waiting.values))
        }
        for continuation in waiting { continuation.resume(returning: .closed) }
        for end in ends { end.resume(()) }
        return (ends.count, waiting.count)
    }
}
