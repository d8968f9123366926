import OutboxDelivery
import Synchronization

/// A destination that notes what it accepts, and does to the rest what a test wants.
final class Recorder: OutboxDestination {
    private struct State {
        var accepted: [OutboxEvent] = []
        var waiters: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state = Mutex(State())
    private let verdict: @Sendable (OutboxEvent) async -> OutboxOutcome?

    /// - Parameter verdict: Nil accepts.
    init(_ verdict: @escaping @Sendable (OutboxEvent) async -> OutboxOutcome? = { _ in nil }) {
        self.verdict = verdict
    }

    func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
        var stopped: Set<[UInt8]> = []
        var outcomes: [OutboxOutcome] = []
        for event in batch {
            if let key = event.message.key, stopped.contains(key) {
                outcomes.append(.unavailable(reason: "follows"))
                continue
            }
            let outcome = await verdict(event)
            switch outcome {
            case nil, .accepted: note(event)
            // It arrived, and the confirmation got lost.
            case .unknown(let reason) where reason == "stored": note(event)
            default: break
            }
            if let outcome, !outcome.isAccepted, let key = event.message.key { stopped.insert(key) }
            outcomes.append(outcome ?? .accepted(OutboxReceipt(place: event.message.topic)))
        }
        return outcomes
    }

    private func note(_ event: OutboxEvent) {
        let ready = state.withLock { state in
            state.accepted.append(event)
            let ready = state.waiters.filter { $0.count <= state.accepted.count }
            state.waiters.removeAll { $0.count <= state.accepted.count }
            return ready
        }
        for waiter in ready { waiter.continuation.resume() }
    }

    var accepted: [OutboxEvent] { state.withLock { $0.accepted } }

    /// Topics in the order of their arrival.
    var topics: [String] { accepted.map(\.message.topic) }

    func wait(for count: Int) async {
        await withCheckedContinuation { continuation in
            let isThere = state.withLock { state in
                if state.accepted.count >= count { return true }
                state.waiters.append((count, continuation))
                return false
            }
            if isThere { continuation.resume() }
        }
    }
}
