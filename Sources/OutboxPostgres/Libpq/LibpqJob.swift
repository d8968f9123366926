internal import DeliveryCore
internal import OutboxDelivery
internal import Synchronization

/// One statement on its way, and the task that waits for it. It has one outcome, whichever comes first: the answer, a cancellation, a
/// time-out, or the connection's end.
final class LibpqJob: Sendable {
    typealias Outcome = Result<LibpqRows, OutboxError>

    private enum State {
        case idle(isSent: Bool)
        case waiting(CheckedContinuation<Outcome, Never>, isSent: Bool)
        case over(Outcome)
    }

    let statement: OutboxStatement
    let deadline: ContinuousClock.Instant
    // The waiting task, its cancellation and the connection's thread meet here.
    private let state = Mutex(State.idle(isSent: false))

    init(_ statement: OutboxStatement, deadline: ContinuousClock.Instant) {
        self.statement = statement
        self.deadline = deadline
    }

    /// Waits for the outcome. To be called once.
    func outcome(isCancellable: Bool) async -> Outcome {
        await waitCancellably { _, continuation in
            let outcome: Outcome? = state.withLock { state in
                switch state {
                case .over(let outcome): return outcome
                case .idle(let isSent), .waiting(_, let isSent):
                    state = .waiting(continuation, isSent: isSent)
                    return nil
                }
            }
            if let outcome { continuation.resume(returning: outcome) }
        } onCancel: { _ in
            if isCancellable { fail(.cancelled, "the task was cancelled", recovery: .retry) }
        }
    }

    /// The connection's thread is about to hand the statement to libpq.
    ///
    /// - Returns: False where it is over already and must not be sent.
    func beginSending() -> Bool {
        state.withLock { state in
            switch state {
            case .idle: state = .idle(isSent: true)
            case .waiting(let continuation, _): state = .waiting(continuation, isSent: true)
            case .over: return false
            }
            return true
        }
    }

    /// Whether its task has its outcome already, before the server has answered.
    var isOver: Bool {
        state.withLock { state in
            if case .over = state { true } else { false }
        }
    }

    /// Brings the outcome; only the first one counts.
    func finish(_ outcome: Outcome) {
        finish { _ in outcome }
    }

    /// Fails it; whether it may be carried out follows from whether it was sent.
    func fail(_ kind: OutboxError.Kind, _ reason: String, recovery: DeliveryRecovery, code: String? = nil) {
        finish { isSent in
            .failure(
                OutboxError(
                    kind: kind,
                    persistence: isSent ? .possiblyPersisted : .notPersisted,
                    recovery: recovery,
                    reason: reason,
                    code: code
                )
            )
        }
    }

    private func finish(_ outcome: (Bool) -> Outcome) {
        let (continuation, result): (CheckedContinuation<Outcome, Never>?, Outcome?) = state.withLock { state in
            switch state {
            case .over: return (nil, nil)
            case .idle(let isSent):
                let result = outcome(isSent)
                state = .over(result)
                return (nil, nil)
            case .waiting(let continuation, let isSent):
                let result = outcome(isSent)
                state = .over(result)
                return (continuation, result)
            }
        }
        if let continuation, let result { continuation.resume(returning: result) }
    }
}
