internal import Synchronization

/// Many messages of one call, and the task that waits once for all of them.
final class SendBatch: Sendable {
    private enum Item {
        case queued
        case encoded
        case finished(SendResult)
    }

    private struct State {
        var items: [Item] = []
        var unfinished = 0
        var waiter: (UInt64, CheckedContinuation<Void, Never>)?
    }

    // The sending task meets the connection's thread here.
    private let state = Mutex(State())

    /// One more message.
    ///
    /// - Returns: Its place among the results.
    func add() -> Int {
        state.withLock { state in
            state.items.append(.queued)
            state.unfinished += 1
            return state.items.count - 1
        }
    }

    /// The thread is about to encode one.
    ///
    /// - Returns: False where it was recalled.
    func beginEncoding(_ index: Int) -> Bool {
        state.withLock { state in
            guard index < state.items.count, case .queued = state.items[index] else { return false }
            state.items[index] = .encoded
            return true
        }
    }

    func isFinished(_ index: Int) -> Bool {
        state.withLock { state in
            guard index < state.items.count, case .finished = state.items[index] else { return false }
            return true
        }
    }

    func finish(_ index: Int, _ result: SendResult) -> Bool {
        let (isFirst, waiter) = state.withLock { state in
            guard index < state.items.count else {
                return (false, nil) as (Bool, CheckedContinuation<Void, Never>?)
            }
            if case .finished = state.items[index] { return (false, nil) }
            state.items[index] = .finished(result)
            state.unfinished -= 1
            guard state.unfinished == 0 else { return (true, nil) }
            defer { state.waiter = nil }
            return (true, state.waiter?.1)
        }
        waiter?.resume()
        return isFirst
    }

    /// Waits until each has its outcome. Cancelling the task recalls those of which nothing was written.
    func results() async -> [SendResult] {
        await waitCancellably { id, continuation in
            let isFinished = state.withLock { state in
                if state.unfinished == 0 { return true }
                state.waiter = (id, continuation)
                return false
            }
            if isFinished { continuation.resume() }
        } onCancel: { id in
            self.cancel(id)
        }
        return state.withLock { state in
            state.items.map { item in
                if case .finished(let result) = item {
                    result
                } else {
                    .failure(.cancelled(persistence: .possiblyPersisted))
                }
            }
        }
    }

    private func cancel(_ id: UInt64) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.waiter?.0 == id else { return nil }
            for index in state.items.indices {
                guard case .queued = state.items[index] else { continue }
                state.items[index] = .finished(.failure(.cancelled(persistence: .notPersisted)))
                state.unfinished -= 1
            }
            defer { state.waiter = nil }
            return state.waiter?.1
        }
        waiter?.resume()
    }
}

/// Who wants to know what becomes of a message.
enum SendTarget: Sendable {
    case slot(SendSlot)
    case batch(SendBatch, Int)

    func beginEncoding() -> Bool {
        switch self {
        case .slot(let slot): slot.beginEncoding()
        case .batch(let batch, let index): batch.beginEncoding(index)
        }
    }

    /// Whether the task that waits for it has its outcome.
    var isFinished: Bool {
        switch self {
        case .slot(let slot): slot.result != nil
        case .batch(let batch, let index): batch.isFinished(index)
        }
    }

    @discardableResult
    func finish(_ result: SendResult) -> Bool {
        switch self {
        case .slot(let slot): slot.finish(result)
        case .batch(let batch, let index): batch.finish(index, result)
        }
    }
}

/// A message on its way. A class, because it goes through four collections, and a message is some three hundred bytes.
final class QueuedSend: Sendable {
    let message: RabbitMessage
    let target: SendTarget
    let accepted: Moment
    let deadline: Moment
    /// Its number among those accepted. Written once, under the lock of the ``SendQueue`` that accepts it, through which it reaches the
    /// connection's thread.
    nonisolated(unsafe) var number: UInt64 = 0

    init(message: RabbitMessage, target: SendTarget, accepted: Moment, deadline: Moment) {
        self.message = message
        self.target = target
        self.accepted = accepted
        self.deadline = deadline
    }

    var size: Int { message.body.count }
}
