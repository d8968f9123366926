internal import Synchronization

/// How a send ended.
typealias SendResult = Result<RabbitConfirmation, RabbitError>

/// One message that was accepted, and those who wait for its outcome.
final class SendSlot: Sendable {
    private enum State {
        /// Nothing of it was written.
        case queued
        /// It was encoded for the broker, and cannot be recalled.
        case encoded
        case finished(SendResult)
    }

    private struct Content {
        var state = State.queued
        /// Nearly always there is one. Not checked: every message has one, and ``finish(_:)``, ``cancel(_:recalls:)`` and ``recall()`` each
        /// take a waiter out before they resume it.
        var first: (UInt64, UnsafeContinuation<Void, Never>)?
        var others: [UInt64: UnsafeContinuation<Void, Never>] = [:]
    }

    // Tasks that wait meet the connection's thread here.
    private let content = Mutex(Content())

    /// The outcome, where there is one.
    var result: SendResult? {
        content.withLock { content in
            if case .finished(let result) = content.state { result } else { nil }
        }
    }

    /// The thread is about to encode it.
    ///
    /// - Returns: False where it was recalled.
    func beginEncoding() -> Bool {
        content.withLock { content in
            guard case .queued = content.state else { return false }
            content.state = .encoded
            return true
        }
    }

    /// Brings the outcome; only the first one counts.
    ///
    /// - Returns: Whether it was the first.
    @discardableResult
    func finish(_ result: SendResult) -> Bool {
        let (isFirst, first, others) = content.withLock { content in
            if case .finished = content.state {
                return (false, nil, [:])
                    as (Bool, UnsafeContinuation<Void, Never>?, [UInt64: UnsafeContinuation<Void, Never>])
            }
            content.state = .finished(result)
            defer {
                content.first = nil
                content.others = [:]
            }
            return (true, content.first?.1, content.others)
        }
        first?.resume()
        for waiter in others.values { waiter.resume() }
        return isFirst
    }

    /// Waits for the outcome.
    ///
    /// - Parameter recalls: Whether cancelling the task recalls a message of which nothing was written.
    func wait(recalls: Bool) async -> SendResult {
        if let result { return result }
        let id = WaiterID.next()
        await waitCancellablyUnchecked { continuation in
            let isFinished = content.withLock { content in
                if case .finished = content.state { return true }
                if content.first == nil {
                    content.first = (id, continuation)
                } else {
                    content.others[id] = continuation
                }
                return false
            }
            if isFinished { continuation.resume() }
        } onCancel: {
            self.cancel(id, recalls: recalls)
        }
        return result ?? .failure(.cancelled(persistence: .possiblyPersisted))
    }

    private func cancel(_ id: UInt64, recalls: Bool) {
        if recalls {
            let isQueued = content.withLock { content in
                if case .queued = content.state { true } else { false }
            }
            // Between the two the thread may encode it; then this changes nothing.
            if isQueued, recall() { return }
        }
        let waiter = content.withLock { content in
            if let first = content.first, first.0 == id {
                content.first = nil
                return first.1 as UnsafeContinuation<Void, Never>?
            }
            return content.others.removeValue(forKey: id)
        }
        waiter?.resume()
    }

    private func recall() -> Bool {
        let waiters = content.withLock { content -> [UnsafeContinuation<Void, Never>]? in
            guard case .queued = content.state else { return nil }
            content.state = .finished(.failure(.cancelled(persistence: .notPersisted)))
            defer {
                content.first = nil
                content.others = [:]
            }
            return [content.first?.1].compactMap(\.self) + content.others.values
        }
        guard let waiters else { return false }
        for waiter in waiters { waiter.resume() }
        return true
    }
}
