internal import Synchronization

/// Runs the shell around ``KeyLanes``: reads deliveries, starts a task for each lane that begins to run, and stops reading
/// while there is no place.
final class LaneDispatcher: Sendable {
    typealias Delivery = KafkaConsumer.Delivery

    private struct State {
        var lanes: KeyLanes
        /// The reading task, where it waits for a place.
        var reading: CheckedContinuation<KeyLanes.Offer, Never>?
    }

    private let handling: FailureHandling
    // Lanes end on any thread.
    private let state: Mutex<State>

    init(maximum: Int, handling: FailureHandling) {
        self.handling = handling
        self.state = Mutex(State(lanes: KeyLanes(maximum: maximum)))
    }

    func run(
        _ deliveries: KafkaConsumer.Deliveries,
        _ handler: @escaping @Sendable (Delivery) async throws -> Void,
        key: @escaping @Sendable (Delivery) -> KeyLanes.Key
    ) async throws {
        try await withLoopAndTasks { start in
            try await self.read(deliveries, key) { delivery, key in
                start { try await self.runLane(key, from: delivery, handler) }
            }
        }
    }

    private func read(
        _ deliveries: KafkaConsumer.Deliveries,
        _ key: (Delivery) -> KeyLanes.Key,
        start: (Delivery, KeyLanes.Key) -> Void
    ) async throws {
        var generation = 0
        var restarts = 0
        for try await delivery in deliveries where !handling.postpone(delivery) {
            let core = handling.core
            if delivery.generation != generation || core.restartCount != restarts {
                generation = delivery.generation
                restarts = core.restartCount
                state.withLock { $0.lanes.removeEnded() }
            }
            let key = key(delivery)
            if await offer(delivery, key) { start(delivery, key) }
        }
    }

    /// Puts a delivery into its lane, waiting for a place; true where it is to be run.
    private func offer(_ delivery: Delivery, _ key: KeyLanes.Key) async -> Bool {
        // Most find a place at once, and are not made to pay for waiting.
        switch state.withLock({ $0.lanes.offer(delivery, key) }) {
        case .run: return true
        case .queued: return false
        case .full: break
        }
        while !Task.isCancelled {
            let offer = await withCheckedContinuation { continuation in
                let offer: KeyLanes.Offer? = state.withLock { state in
                    let offer = state.lanes.offer(delivery, key)
                    guard offer == .full else { return offer }
                    state.reading = continuation
                    return nil
                }
                if let offer { continuation.resume(returning: offer) }
            }
            switch offer {
            case .run: return true
            case .queued: return false
            case .full: continue
            }
        }
        return false
    }

    /// Handles a lane's deliveries one after the other, until there are none or one backs off.
    private func runLane(
        _ key: KeyLanes.Key,
        from first: Delivery,
        _ handler: @Sendable (Delivery) async throws -> Void
    ) async throws {
        var current: Delivery? = first
        while let delivery = current {
            // One that waited while its partition went away has a new owner already; and after one that was left because the
            // task was cancelled, none of its key comes.
            let outcome: FailureHandling.Outcome
            do {
                outcome =
                    delivery.message.isCurrent && !Task.isCancelled ? try await handling.run(delivery, handler) : .left
            } catch {
                // The error ends the loop; only the reading task has to find out.
                state.withLock { $0.reading.take() }?.resume(returning: .full)
                throw error
            }
            let reading: CheckedContinuation<KeyLanes.Offer, Never>?
            (current, reading) = state.withLock { state in
                // Where the partition went, or elsewhere, it does not come again. Asked here, so that either this sees it,
                // or the reading task finds the lane when it sees it.
                let next =
                    outcome == .backsOff && delivery.message.isCurrent
                    ? state.lanes.backsOff(key, delivery.message.sequence) : state.lanes.finished(key)
                return (next, state.reading.take())
            }
            reading?.resume(returning: .full)
        }
    }
}
