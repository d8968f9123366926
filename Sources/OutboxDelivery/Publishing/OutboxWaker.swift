internal import Synchronization

/// Tells publishers after commits that there is something to publish: however many call, one notification is under way at a time, and
/// one more follows where a task called meanwhile.
///
/// ```swift
/// let waker = OutboxWaker { try await outbox.wake() }        // or the service's own client, with table.wakeStatement
/// try await connection.withTransaction { … }
/// waker.wake()                                               // returns at once
/// ```
public final class OutboxWaker: Sendable {
    private struct State {
        var isUnderWay = false
        var isWanted = false
    }

    private let notify: @Sendable () async throws -> Void
    // Callers and the task that notifies meet here.
    private let state = Mutex(State())

    /// A waker.
    ///
    /// - Parameter notify: Notifies once. An error is left alone: publishers find the rows after their poll interval.
    public init(_ notify: @escaping @Sendable () async throws -> Void) {
        self.notify = notify
    }

    /// Notifies soon. Never waits and cannot fail. To be called after the commit.
    public func wake() {
        let isFirst = state.withLock { state in
            state.isWanted = true
            defer { state.isUnderWay = true }
            return !state.isUnderWay
        }
        guard isFirst else { return }
        Task.detached { [self] in
            while takeOrder() { try? await notify() }
        }
    }

    private func takeOrder() -> Bool {
        state.withLock { state in
            state.isUnderWay = state.isWanted
            state.isWanted = false
            return state.isUnderWay
        }
    }
}
