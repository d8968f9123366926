import Hummingbird
import Synchronization

/// The other system: a webhook that is called for each event, and that is away for the first call of each key.
final class Webhook: Sendable {
    struct Call: ResponseCodable, Sendable {
        var path: String
        var body: String
        var idempotencyKey: String
    }

    private struct State {
        var calls: [Call] = []
        var refused: Set<String> = []
    }

    /// How much it remembers: it is called for as long as the service lives.
    private static let memory = 1_000

    private let state = Mutex(State())

    /// Notes a call; the first time that it sees an idempotency key it answers 503.
    func receive(_ call: Call) -> HTTPResponse.Status {
        state.withLock { state in
            if state.refused.count >= Self.memory { state.refused.removeAll() }
            guard !state.refused.insert(call.idempotencyKey).inserted else { return .serviceUnavailable }
            guard !state.calls.contains(where: { $0.idempotencyKey == call.idempotencyKey }) else { return .noContent }
            if state.calls.count >= Self.memory { state.calls.removeFirst() }
            state.calls.append(call)
            return .noContent
        }
    }

    var calls: [Call] { state.withLock { $0.calls } }
}
