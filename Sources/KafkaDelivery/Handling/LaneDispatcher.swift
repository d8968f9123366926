internal import DequeModule
internal import Synchronization

/// Runs the shell around ``KeyLanes``: reads deliveries, starts a task for each lane that begins to run, and stops reading
/// while there is no place.
final class LaneDispatcher: Sendable {
    typealias Delivery = KafkaConsumer.Delivery

    private enum Waiter {
        /// A lane whose next delivery is to be handled.
        case next(LaneKey, CheckedContinuation<Delivery?, Never>)
        /// A lane whose delivery is to be handed over.
        case handOver(LaneKey, CheckedContinuation<Bool, Never>)

        /// Goes on without a place: the loop is over.
        func giveUp() {
            switch self {
            case .next(_, let continuation): continuation.resume(returning: nil)
            case .handOver(_, let continuation): continuation.resume(returning: false)
            }
        }
    }

    /// A lane that goes on.
    private enum Waking {
        case next(CheckedContinuation<Delivery?, Never>, Delivery?)
        case handOver(CheckedContinuation<Bool, Never>)
    }

    private struct State {
        var lanes: KeyLanes<Delivery>
        /// The reading task, where it waits for a place.
        var reading: CheckedContinuation<LaneOffer, Never>?
        /// Lanes that have something to run, and wait for a place.
        var waiters: Deque<Waiter> = []
        /// Whether a handler's error has ended the loop.
        var isOver = false
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
        key: @escaping @Sendable (Delivery) -> LaneKey
    ) async throws {
        try await withLoopAndTasks { start in
            try await self.read(deliveries, key) { delivery, key in
                start {
                    try await HandlerTask.run(self.handling.core) {
                        try await self.runLane(key, from: delivery, handler)
                    }
                }
            }
        }
    }

    private func read(
        _ deliveries: KafkaConsumer.Deliveries,
        _ key: (Delivery) -> LaneKey,
        start: (Delivery, LaneKey) -> Void
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

    /// Puts a delivery into its lane, waiting for a place; true where it is to be run. When the loop is over it is not: the lane
    /// that threw keeps its place, so that none may ever be free.
    private func offer(_ delivery: Delivery, _ key: LaneKey) async -> Bool {
        // Most find a place at once, and are not made to pay for waiting.
        switch state.withLock({ $0.isOver ? .queued : $0.lanes.offer(delivery, key) }) {
        case .run: return true
        case .queued: return false
        case .full: break
        }
        while !Task.isCancelled {
            let offer = await withCheckedContinuation { continuation in
                let offer: LaneOffer? = state.withLock { state in
                    // This task is cancelled only after the one that threw has ended.
                    if state.isOver { return .queued }
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
        _ key: LaneKey,
        from first: Delivery,
        _ handler: @Sendable (Delivery) async throws -> Void
    ) async throws {
        var current: Delivery? = first
        do {
            while let delivery = current {
                // One that waited while its partition went away has a new owner already; and after one that was left because
                // the task was cancelled, none of its key comes.
                let step: FailureHandling.Step =
                    delivery.message.isCurrent && !Task.isCancelled
                    ? try await handling.handle(delivery, handler) : .ended(.left)
                switch step {
                case .ended(let outcome):
                    current = next(key, delivery, outcome)
                case .givenUp(let givenUp):
                    let isParked = changing { $0.lanes.park(key) }
                    switch try await handling.publish(givenUp, delivery) {
                    case .ended(let outcome):
                        current =
                            isParked ? await unpark(key, delivery, outcome) : next(key, delivery, outcome)
                    case .refused(let refused):
                        if isParked, await !enter(key) { return }
                        current = next(key, delivery, await handling.handOver(refused, delivery))
                    }
                }
            }
        } catch {
            // The error ends the loop; the reading task has to find out, and who waits for a place.
            let (reading, waiters) = state.withLock { state in
                state.isOver = true
                defer { state.waiters = [] }
                return (state.reading.take(), state.waiters)
            }
            reading?.resume(returning: .full)
            for waiter in waiters { waiter.giveUp() }
            throw error
        }
    }

    /// What to run in a lane that occupies a place, after one of its deliveries; nil where there is nothing.
    private func next(_ key: LaneKey, _ delivery: Delivery, _ outcome: FailureHandling.Outcome) -> Delivery? {
        changing { state in
            // Where the partition went, or elsewhere, it does not come again. Asked here, so that either this sees it, or the
            // reading task finds the lane when it sees it.
            outcome == .backsOff && delivery.message.isCurrent
                ? state.lanes.backsOff(key, delivery.message.sequence) : state.lanes.finished(key)
        }
    }

    /// Waits until a lane that is parked has a place again.
    ///
    /// - Returns: Whether it has; false when the loop is over.
    private func enter(_ key: LaneKey) async -> Bool {
        await withCheckedContinuation { continuation in
            let isIn: Bool? = state.withLock { state in
                if state.isOver { return false }
                if state.lanes.enter(key) { return true }
                state.waiters.append(.handOver(key, continuation))
                return nil
            }
            if let isIn { continuation.resume(returning: isIn) }
        }
    }

    /// Goes on with a lane whose delivery was published, waiting for a place where it needs one.
    ///
    /// - Returns: What to run; nil where there is nothing.
    private func unpark(_ key: LaneKey, _ delivery: Delivery, _ outcome: FailureHandling.Outcome) async
        -> Delivery?
    {
        let now = changing { state in
            let isComingAgain = outcome == .backsOff && delivery.message.isCurrent
            return state.lanes.unpark(key, backingOff: isComingAgain ? delivery.message.sequence : nil)
        }
        switch now {
        case .run(let next): return next
        case .idle: return nil
        case .full: break
        }
        return await withCheckedContinuation { continuation in
            let now: Delivery?? = state.withLock { state in
                if state.isOver { return .some(nil) }
                switch state.lanes.resume(key) {
                case .run(let next): return next
                case .idle: return .some(nil)
                case .full:
                    state.waiters.append(.next(key, continuation))
                    return nil
                }
            }
            if let now { continuation.resume(returning: now) }
        }
    }

    /// Changes lanes, and lets go on who waits for a place: a lane first, for what it holds is older than what is read now.
    @discardableResult
    private func changing<Result>(_ body: (inout State) -> Result) -> Result {
        let (result, reading, lane) = state.withLock { state in
            let result = body(&state)
            var lane: Waking?
            switch state.waiters.first {
            case .next(let key, let continuation):
                switch state.lanes.resume(key) {
                case .run(let next): lane = .next(continuation, next)
                case .idle: lane = .next(continuation, nil)
                case .full: break
                }
            case .handOver(let key, let continuation):
                if state.lanes.enter(key) { lane = .handOver(continuation) }
            case nil: break
            }
            if lane != nil { state.waiters.removeFirst() }
            return (result, state.reading.take(), lane)
        }
        reading?.resume(returning: .full)
        switch lane {
        case .next(let continuation, let next): continuation.resume(returning: next)
        case .handOver(let continuation): continuation.resume(returning: true)
        case nil: break
        }
        return result
    }
}

extension KafkaConsumer.Delivery: LaneDelivery {
    var laneOwner: PartitionReader { message.reader }
    var laneSequence: OffsetTracker.Sequence { message.sequence }
}

extension PartitionReader: LaneOwner {}
