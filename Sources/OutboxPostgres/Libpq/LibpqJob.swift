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
        /// With the outcome until the task has taken it. From then on the rows are the task's alone, and freed where it lets go of them: the
        /// connection's thread, which read them, keeps no reference that could be the last one.
        case over(Outcome?)
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
                case .over(let outcome):
                    state = .over(nil)
                    return outcome ?? .failure(Self.taken)
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
    func finish(_ outcome: consuming Outcome) {
        while true {
            let step: Step = state.withLock { state in
                switch state {
                case .over: return .done
                case .idle: return .keep
                case .waiting(let continuation, _):
                    state = .over(nil)
                    return .resume(continuation)
                }
            }
            switch step {
            case .done: return
            case .resume(let continuation): return continuation.resume(returning: outcome)
            case .keep:
                let kept = copy outcome
                let isKept = state.withLock { state in
                    guard case .idle = state else { return false }
                    state = .over(kept)
                    return true
                }
                // Else its task began to wait meanwhile, or was told.
                if isKept { return }
            }
        }
    }

    private enum Step {
        case done
        case keep
        case resume(CheckedContinuation<Outcome, Never>)
    }

    /// Fails it; whether it may be carried out follows from whether it was sent.
    func fail(_ kind: OutboxError.Kind, _ reason: String, recovery: DeliveryRecovery, code: String? = nil) {
        let waiter: (CheckedContinuation<Outcome, Never>, Outcome)? = state.withLock { state in
            let isSent: Bool
            var continuation: CheckedContinuation<Outcome, Never>?
            switch state {
            case .over: return nil
            case .idle(let wasSent): isSent = wasSent
            case .waiting(let waiting, let wasSent): (continuation, isSent) = (waiting, wasSent)
            }
            let failure = Outcome.failure(
                OutboxError(
                    kind: kind,
                    persistence: isSent ? .possiblyPersisted : .notPersisted,
                    recovery: recovery,
                    reason: reason,
                    code: code
                )
            )
            state = .over(continuation == nil ? failure : nil)
            return continuation.map { ($0, failure) }
        }
        if let (continuation, failure) = waiter { continuation.resume(returning: failure) }
    }

    private static let taken = OutboxError(
        kind: .closed,
        persistence: .possiblyPersisted,
        recovery: .fixRequest,
        reason: "its outcome was taken before"
    )
}
