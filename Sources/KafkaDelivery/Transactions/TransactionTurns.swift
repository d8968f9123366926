internal import DequeModule

/// Whose turn it is: one transaction at a time, in the order in which they were asked for.
///
/// A value without threads; ``TransactionalCore`` keeps it behind a lock and resumes outside of it.
struct TransactionTurns {
    struct Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<KafkaError?, Never>
    }

    private(set) var isTaken = false
    private(set) var isClosed = false
    private var waiters: Deque<Waiter> = []
    /// Those that wait until no task has a turn any more.
    private var idleWaiters: [TimedWait<Bool>] = []

    enum Admission {
        case granted
        case waits
        case refused(KafkaError)
    }

    mutating func take(_ waiter: @autoclosure () -> Waiter) -> Admission {
        if isClosed { return .refused(.closed(persistence: .notPersisted)) }
        guard isTaken else {
            isTaken = true
            return .granted
        }
        waiters.append(waiter())
        return .waits
    }

    mutating func cancel(_ id: UInt64) -> Waiter? {
        waiters.firstIndex { $0.id == id }.map { waiters.remove(at: $0) }
    }

    /// Ends a turn.
    ///
    /// - Returns: Whose turn it is next, or which tasks waited for there to be none.
    mutating func giveBack() -> (next: Waiter?, idle: [TimedWait<Bool>]) {
        if let next = waiters.popFirst() { return (next, []) }
        isTaken = false
        defer { idleWaiters = [] }
        return (nil, idleWaiters)
    }

    /// Grants no more turns.
    ///
    /// - Returns: Those who waited for one.
    mutating func close() -> Deque<Waiter> {
        isClosed = true
        defer { waiters = [] }
        return waiters
    }

    /// Waits until no task has a turn; false where there is no need to.
    mutating func waitUntilIdle(_ wait: TimedWait<Bool>) -> Bool {
        if isTaken { idleWaiters.append(wait) }
        return isTaken
    }
}
