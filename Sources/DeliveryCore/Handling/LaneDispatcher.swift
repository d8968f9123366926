public import DequeModule
public import Synchronization

/// Runs the shell around ``KeyLanes``: reads deliveries, starts a task for each lane that begins to run, and stops reading
/// while there is no place.
@usableFromInline
package final class LaneDispatcher<Host: HandlingHost>: Sendable {
    @usableFromInline
    package typealias Delivery = Host.Delivery
    @usableFromInline
    package typealias Key = LaneKey<Delivery.OrderKey>

    @usableFromInline
    enum Waiter: Sendable {
        /// A lane whose next delivery is to be handled.
        case next(Key, CheckedContinuation<Delivery?, Never>)
        /// A lane whose delivery is to be handed over.
        case handOver(Key, CheckedContinuation<Bool, Never>)

        /// Goes on without a place: the loop is over.
        @inlinable
        func giveUp() {
            switch self {
            case .next(_, let continuation): continuation.resume(returning: nil)
            case .handOver(_, let continuation): continuation.resume(returning: false)
            }
        }
    }

    /// A lane that goes on.
    @usableFromInline
    enum Waking: Sendable {
        case next(CheckedContinuation<Delivery?, Never>, Delivery?)
        case handOver(CheckedContinuation<Bool, Never>)
    }

    @usableFromInline
    struct State: Sendable {
        @usableFromInline var lanes: KeyLanes<Delivery>
        /// The reading task, where it waits for a place.
        @usableFromInline var reading: CheckedContinuation<LaneOffer, Never>?
        /// Lanes that have something to run, and wait for a place.
        @usableFromInline var waiters: Deque<Waiter> = []
        /// Whether a handler's error has ended the loop.
        @usableFromInline var isOver = false

        @inlinable
        init(maximum: Int) { lanes = KeyLanes(maximum: maximum) }
    }

    @usableFromInline let handling: FailureHandling<Host>
    // Lanes end on any thread.
    @usableFromInline let state: Mutex<State>

    /// Whether what has the same key keeps its order.
    @usableFromInline let isOrderedByKey: Bool

    /// Handles so many at a time, and at most one of a key where that is said.
    @inlinable
    package init(maximum: Int, orderedByKey: Bool, handling: FailureHandling<Host>) {
        self.isOrderedByKey = orderedByKey
        self.handling = handling
        self.state = Mutex(State(maximum: maximum))
    }

    /// Runs a handler for each delivery of a sequence.
    ///
    /// - Throws: What reading throws, and a handler's error where the message is given up and there is nowhere to put it.
    @inlinable
    package func run<Deliveries: AsyncSequence & Sendable>(
        _ deliveries: Deliveries,
        _ handler: @escaping @Sendable (Delivery) async throws -> Void
    ) async throws where Deliveries.Element == Delivery {
        try await withLoopAndTasks { start in
            try await self.read(deliveries) { delivery, key in
                // From here on it is among those that are being handled, which a consumer that closes finishes. Left because its
                // task had not come so far, it would come again with all that was handled behind it.
                let isToRun = delivery.isCurrent
                start {
                    try await self.handling.host.runningHandlers {
                        try await self.runLane(key, from: delivery, isToRun: isToRun, handler)
                    }
                }
            }
        }
    }

    @inlinable
    func read<Deliveries: AsyncSequence>(
        _ deliveries: Deliveries,
        start: (Delivery, Key) -> Void
    ) async throws where Deliveries.Element == Delivery {
        var epoch: LaneEpoch?
        for try await delivery in deliveries where !handling.host.holdsBack(delivery) {
            let now = handling.host.laneEpoch(delivery)
            if now != epoch {
                epoch = now
                state.withLock { $0.lanes.removeEnded() }
            }
            let key = key(of: delivery)
            if await offer(delivery, key) { start(delivery, key) }
        }
    }

    @inlinable
    func key(of delivery: Delivery) -> Key {
        let source = ObjectIdentifier(delivery.deliverySource)
        if isOrderedByKey, let key = delivery.orderKey { return .key(source, key) }
        return .alone(source, delivery.deliverySequence)
    }

    /// Puts a delivery into its lane, waiting for a place; true where it is to be run. When the loop is over it is not: the lane
    /// that threw keeps its place, so that none may ever be free.
    @inlinable
    func offer(_ delivery: Delivery, _ key: Key) async -> Bool {
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
    ///
    /// - Parameter isToRun: Whether the first was still to be handled when it got its place.
    @inlinable
    func runLane(
        _ key: Key,
        from first: Delivery,
        isToRun: Bool,
        _ handler: @Sendable (Delivery) async throws -> Void
    ) async throws {
        var current: Delivery? = first
        // One that waited while its partition went away has a new owner already; and after one that was left because the task was
        // cancelled, none of its key comes.
        var isToRun = isToRun && first.takesVerdict
        do {
            while let delivery = current {
                let step: FailureHandling<Host>.Step =
                    isToRun && !Task.isCancelled
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
                        current = next(key, delivery, try await handling.handOver(refused, delivery))
                    }
                }
                isToRun = current?.isCurrent ?? false
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
    @inlinable
    func next(_ key: Key, _ delivery: Delivery, _ outcome: HandlingOutcome) -> Delivery? {
        changing { state in
            // Where its source is gone, or goes on elsewhere, it does not come again. Asked here, so that either this sees it, or the
            // reading task finds the lane when it sees it.
            outcome == .backsOff && delivery.isCurrent
                ? state.lanes.backsOff(key, delivery.deliverySequence) : state.lanes.finished(key)
        }
    }

    /// Waits until a lane that is parked has a place again.
    ///
    /// - Returns: Whether it has; false when the loop is over.
    @inlinable
    func enter(_ key: Key) async -> Bool {
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
    @inlinable
    func unpark(_ key: Key, _ delivery: Delivery, _ outcome: HandlingOutcome) async
        -> Delivery?
    {
        let now = changing { state in
            let isComingAgain = outcome == .backsOff && delivery.isCurrent
            return state.lanes.unpark(key, backingOff: isComingAgain ? delivery.deliverySequence : nil)
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
    @inlinable
    func changing<Result>(_ body: (inout State) -> Result) -> Result {
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
