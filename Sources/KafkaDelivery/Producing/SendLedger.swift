internal import DequeModule

/// Which sends have no outcome yet, who waits for room, and who waits for all of them to end.
///
/// A value without threads: ``ProducerCore`` keeps it behind a lock, does what the returned actions say outside of it,
/// and resumes nobody while it is held.
struct SendLedger {
    typealias PendingDelivery = KafkaProducer.PendingDelivery

    enum Phase {
        case open
        case closing
        case closed
    }

    /// A sender that found librdkafka's queue full.
    struct RoomWaiter {
        let id: UInt64
        let message: KafkaMessage
        let pending: PendingDelivery
        let deadline: ContinuousClock.Instant
        let continuation: CheckedContinuation<KafkaError?, Never>
    }

    /// Somebody who waits until every send up to a point has its outcome.
    struct Barrier {
        let id: UInt64
        let sequence: UInt64
        let continuation: CheckedContinuation<KafkaError?, Never>
    }

    private(set) var phase = Phase.open
    /// How many sends are in flight: accepted, and without an outcome.
    private(set) var count = 0
    private(set) var lastSequence: UInt64 = 0
    /// Where the last message went: the next one goes there too, more often than not, and no dictionary is searched.
    var lastTopic: RdKafkaTopic?

    // In flight, oldest first, linked through the sends themselves: librdkafka carries a pointer to each, this list
    // keeps it alive, and no dictionary is searched when its report arrives. The links do not count references: the list
    // has one of each send from `append` on, and gives it up in `remove` or, by `settle`, to the caller.
    private unowned(unsafe) var first: PendingDelivery?
    private unowned(unsafe) var last: PendingDelivery?

    private var roomWaiters: Deque<RoomWaiter> = []
    /// The waiter that is being tried just now: in no list, and still somebody's to cancel.
    private var trying: (id: UInt64, isCancelled: Bool)?
    private var lowWater = 0
    private var barriers: [Barrier] = []

    /// What happened to the sends that were in flight when closing began.
    private(set) var summary = KafkaProducer.CloseSummary()
}

// MARK: Sends in flight

extension SendLedger {
    enum Admission {
        /// To librdkafka, with the topic's handle where it is at hand.
        case accepted(RdKafkaTopic?)
        /// Others wait for room already and have the earlier claim.
        case wait
        case refused(KafkaError)
    }

    /// Takes a send on, unless the producer is closed or others wait for room.
    mutating func admit(_ pending: PendingDelivery) -> Admission {
        guard phase == .open else { return .refused(.closed()) }
        guard roomWaiters.isEmpty else { return .wait }
        append(pending)
        return .accepted(lastTopic?.name == pending.topic ? lastTopic : nil)
    }

    private mutating func append(_ pending: PendingDelivery) {
        _ = Unmanaged.passRetained(pending)
        lastSequence += 1
        pending.sequence = lastSequence
        pending.previous = last
        if let last { last.next = pending } else { first = pending }
        last = pending
        count += 1
    }

    /// Takes a send off the list, which no longer keeps it alive. It must be on it.
    mutating func remove(_ pending: PendingDelivery) {
        unlink(pending)
        Unmanaged.passUnretained(pending).release()
    }

    private mutating func unlink(_ pending: PendingDelivery) {
        let next = pending.next
        let previous = pending.previous
        if let next { next.previous = previous } else { last = previous }
        if let previous { previous.next = next } else { first = next }
        pending.next = nil
        pending.previous = nil
        count -= 1
    }

    /// Takes off a send that librdkafka did not take after all.
    ///
    /// - Returns: Whether somebody waits for what this changes: the thread has to look.
    mutating func refuse(_ pending: PendingDelivery) -> Bool {
        remove(pending)
        return phase != .open || !roomWaiters.isEmpty
    }

    /// Takes off a send whose report arrived, and counts it where the producer is closing. The caller has to release it.
    mutating func settle(_ pending: Unmanaged<PendingDelivery>, _ outcome: PendingDelivery.Outcome) {
        pending._withUnsafeGuaranteedRef { unlink($0) }
        guard phase == .closing else { return }
        switch outcome {
        case .success: summary.delivered += 1
        case .failure(let error) where error.persistence == .possiblyPersisted: summary.unknown += 1
        case .failure: summary.failed += 1
        }
    }

    /// Lists what is still in flight, without taking it off: librdkafka may still hold pointers to it.
    var inFlight: [PendingDelivery] {
        var result: [PendingDelivery] = []
        result.reserveCapacity(count)
        var current = first
        while let pending = current {
            result.append(pending)
            current = pending.next
        }
        return result
    }

    /// Lets go of everything, one by one: releasing a long chain by its head would recurse once for each link.
    mutating func removeAll() {
        while let pending = first { remove(pending) }
    }
}

// MARK: Waiting for room

extension SendLedger {
    enum RoomAction {
        case none
        case refuse(KafkaError)
        /// The thread that serves the queue has to look: its next deadline may have changed, or there is room already.
        case interrupt
    }

    /// Lets a sender wait for room. What was full is worth trying again when a quarter of it has left: then one wake-up
    /// admits many sends instead of one.
    mutating func wait(_ waiter: RoomWaiter) -> RoomAction {
        guard phase == .open else { return .refuse(.closed()) }
        if roomWaiters.isEmpty { lowWater = count - count / 4 }
        roomWaiters.append(waiter)
        return roomWaiters.count == 1 || count <= lowWater ? .interrupt : .none
    }

    /// The sender whose turn it is, taken on as a send in flight, where there may be room for it.
    mutating func nextForRoom() -> RoomWaiter? {
        guard count <= lowWater || count == 0, let waiter = roomWaiters.popFirst() else { return nil }
        // From the first that is let in on, each next one is tried until librdkafka says no again.
        lowWater = .max
        trying = (waiter.id, false)
        append(waiter.pending)
        return waiter
    }

    /// What becomes of a waiter that was tried.
    enum Trial {
        /// It waits on, at the head.
        case waitsOn
        case refuse(KafkaError)
        /// Nothing is in flight, and there is no room for it all the same.
        case tooLarge
    }

    /// librdkafka has taken it.
    mutating func triedWithSuccess() {
        trying = nil
    }

    /// librdkafka has not taken it.
    ///
    /// - Parameter isFull: Whether that was for want of room.
    mutating func triedInVain(_ waiter: RoomWaiter, isFull: Bool) -> Trial? {
        let wasCancelled = trying?.isCancelled == true
        trying = nil
        remove(waiter.pending)
        if wasCancelled { return .refuse(.cancelled(persistence: .notPersisted)) }
        guard phase == .open else { return .refuse(.closed()) }
        guard isFull else { return nil }
        guard count > 0 else { return .tooLarge }
        lowWater = count - count / 4
        roomWaiters.prepend(waiter)
        return .waitsOn
    }

    /// Nobody waits any longer for room that is there.
    mutating func roomServed() {
        if roomWaiters.isEmpty { lowWater = 0 }
    }

    mutating func cancelRoomWaiter(_ id: UInt64) -> RoomWaiter? {
        if trying?.id == id { trying?.isCancelled = true }
        return roomWaiters.firstIndex { $0.id == id }.map { roomWaiters.remove(at: $0) }
    }

    /// Takes off everybody who waits. One that is being tried just now is told when that has come to nothing.
    mutating func takeRoomWaiters() -> Deque<RoomWaiter> {
        trying?.isCancelled = true
        defer { roomWaiters = [] }
        return roomWaiters
    }

    /// Those that have waited too long. All wait equally long, so the first is always the next to go.
    mutating func overdueRoomWaiters(at now: ContinuousClock.Instant) -> [RoomWaiter] {
        var result: [RoomWaiter] = []
        while let waiter = roomWaiters.first, waiter.deadline <= now {
            result.append(roomWaiters.removeFirst())
        }
        return result
    }

    var nextRoomDeadline: ContinuousClock.Instant? {
        roomWaiters.first?.deadline
    }
}

// MARK: Waiting for the end of sends

extension SendLedger {
    /// Whether every send up to `sequence` has its outcome.
    func isPast(_ sequence: UInt64) -> Bool {
        (first?.sequence ?? .max) > sequence
    }

    mutating func add(_ barrier: Barrier) {
        barriers.append(barrier)
    }

    mutating func cancelBarrier(_ id: UInt64) -> Barrier? {
        barriers.firstIndex { $0.id == id }.map { barriers.remove(at: $0) }
    }

    /// Those who have waited long enough.
    mutating func passedBarriers() -> [Barrier] {
        guard !barriers.isEmpty else { return [] }
        let oldest = first?.sequence ?? .max
        let passed = barriers.filter { oldest > $0.sequence }
        if !passed.isEmpty { barriers.removeAll { oldest > $0.sequence } }
        return passed
    }

    /// Refuses new sends from now on, and returns those that still waited to become one.
    mutating func beginClosing() -> Deque<RoomWaiter> {
        guard phase == .open else { return [] }
        phase = .closing
        defer { roomWaiters = [] }
        return roomWaiters
    }

    /// Ends the ledger: what is still in flight is unknown for ever.
    mutating func close() -> (abandoned: [PendingDelivery], waiters: Deque<RoomWaiter>, barriers: [Barrier]) {
        let abandoned = inFlight
        phase = .closed
        summary.unknown += abandoned.count
        defer {
            barriers = []
            roomWaiters = []
        }
        return (abandoned, roomWaiters, barriers)
    }
}
