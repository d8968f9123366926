internal import DequeModule
internal import Synchronization

/// Who waits for what at a producer: for room, or for sends to end; and whether it is closing.
///
/// A value without threads: ``SharedSendLedger`` keeps it behind a lock; the producer does what the returned actions say
/// outside of it, and resumes nobody while it is held. The sends themselves are elsewhere (``SendsInFlight``), and come past
/// here only where they have to wait.
struct SendLedger {
    enum Phase {
        case open
        case closing
        case closed
    }

    /// A sender that found librdkafka's queue full.
    struct RoomWaiter {
        let id: UInt64
        let message: KafkaMessage
        /// Of this message alone.
        let block: SendBlock
        let deadline: Moment
        let continuation: CheckedContinuation<KafkaError?, Never>
    }

    /// Somebody who waits until every send that was accepted before has its outcome, or until the producer is closed.
    struct Barrier {
        let id: UInt64
        /// Of the last of those sends; nil until the thread has numbered them, and for ever where the end is waited for.
        var sequence: UInt64?
        let isForTheEnd: Bool
        let continuation: CheckedContinuation<KafkaError?, Never>
    }

    struct Closing {
        var deadline: Moment
        /// Set when the rest was given up; reports of it are due at once, and not waited for longer than this.
        var purgeDeadline: Moment?
    }

    private(set) var phase = Phase.open
    /// When closing has to be over; nil while the producer is open.
    private(set) var closing: Closing?
    /// What happened to the sends that were in flight when closing began; known when it is closed.
    private(set) var summary = KafkaCloseSummary()

    private var roomWaiters: Deque<RoomWaiter> = []
    /// The waiter that is being tried just now: in no list, and still somebody's to cancel. With what it is told if that is in
    /// vain.
    private var trying: (id: UInt64, refusal: KafkaError?)?
    /// What senders are told who would have to wait for room; nil where they may.
    private var refusal: KafkaError?
    /// How many sends may be in flight for another attempt; nil until the thread has seen that somebody waits.
    private var lowWater: Int?
    private var barriers: [Barrier] = []
    /// What librdkafka did not take, and the thread still counts as in flight.
    private var refused: [(block: SendBlock, count: Int)] = []
}

// MARK: What others than the holder of the lock need to know

extension SendLedger {
    /// Whether somebody waits for room, and has an earlier claim than a new send.
    var isCrowded: Bool { !roomWaiters.isEmpty }

    /// Whether the thread has anything to do here.
    var needsThread: Bool {
        phase != .open || !roomWaiters.isEmpty || !barriers.isEmpty || !refused.isEmpty
    }
}

// MARK: Sends that librdkafka did not take

extension SendLedger {
    /// Notes a send that is in flight no longer, or not with so many messages.
    ///
    /// - Returns: Whether the thread has to look: somebody waits for what this changes, or there are many of them.
    mutating func refuse(_ block: SendBlock, count: Int = 1) -> Bool {
        guard phase != .closed else { return false }
        refused.append((block, count))
        return phase != .open || !roomWaiters.isEmpty || trying != nil || !barriers.isEmpty || refused.count >= 128
    }

    mutating func takeRefused() -> [(block: SendBlock, count: Int)] {
        guard !refused.isEmpty else { return [] }
        defer { refused = [] }
        return refused
    }
}

// MARK: Waiting for room

extension SendLedger {
    enum RoomAction {
        case none
        case refuse(KafkaError)
        /// The thread has to look: its next deadline may have changed, or there is room already.
        case interrupt
    }

    /// Lets a sender wait for room.
    mutating func wait(_ waiter: RoomWaiter) -> RoomAction {
        guard phase == .open else { return .refuse(.closed()) }
        if let refusal { return .refuse(refusal) }
        roomWaiters.append(waiter)
        return roomWaiters.count == 1 ? .interrupt : .none
    }

    /// The sender whose turn it is, where there may be room for it. What was full is worth trying again when a quarter of it
    /// has left: then one wake-up admits many sends instead of one.
    mutating func nextForRoom(inFlight count: Int) -> RoomWaiter? {
        guard !roomWaiters.isEmpty else { return nil }
        let level = lowWater ?? count - count / 4
        lowWater = level
        guard count <= level || count == 0 else { return nil }
        // From the first that is let in on, each next one is tried until librdkafka says no again.
        lowWater = .max
        let waiter = roomWaiters.removeFirst()
        trying = (waiter.id, nil)
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
    /// - Parameters:
    ///   - isFull: Whether that was for want of room.
    ///   - count: How many others are in flight.
    mutating func triedInVain(_ waiter: RoomWaiter, isFull: Bool, inFlight count: Int) -> Trial? {
        let refusal = trying?.refusal
        trying = nil
        if let refusal { return .refuse(refusal) }
        guard phase == .open else { return .refuse(.closed()) }
        guard isFull else { return nil }
        guard count > 0 else { return .tooLarge }
        lowWater = count - count / 4
        roomWaiters.prepend(waiter)
        return .waitsOn
    }

    /// Nobody waits any longer for room that is there.
    mutating func roomServed() {
        forgetLowWater()
    }

    mutating func cancelRoomWaiter(_ id: UInt64) -> RoomWaiter? {
        if trying?.id == id { trying?.refusal = .cancelled(persistence: .notPersisted) }
        defer { forgetLowWater() }
        return roomWaiters.firstIndex { $0.id == id }.map { roomWaiters.remove(at: $0) }
    }

    /// Takes off everybody who waits, and refuses who comes until ``admitRoomWaiters()``. One that is being tried just now is
    /// told when that has come to nothing.
    mutating func takeRoomWaiters(refusing error: KafkaError) -> [RoomWaiter] {
        trying?.refusal = error
        refusal = error
        return takeAllRoomWaiters()
    }

    /// Senders may wait for room again.
    mutating func admitRoomWaiters() {
        refusal = nil
    }

    /// What was noted for those who waited says nothing to those who will.
    private mutating func forgetLowWater() {
        if roomWaiters.isEmpty, trying == nil { lowWater = nil }
    }

    private mutating func takeAllRoomWaiters() -> [RoomWaiter] {
        // Not Array(roomWaiters) where there are none: the thread sanitizer takes what that does to the empty array, which
        // all arrays without elements share, for a race.
        guard !roomWaiters.isEmpty else { return [] }
        defer {
            roomWaiters = []
            forgetLowWater()
        }
        return Array(roomWaiters)
    }

    /// Those that have waited too long. All wait equally long, so the first is always the next to go.
    mutating func overdueRoomWaiters(at now: Moment) -> [RoomWaiter] {
        var result: [RoomWaiter] = []
        while let waiter = roomWaiters.first, waiter.deadline <= now {
            result.append(roomWaiters.removeFirst())
        }
        return result
    }

    var nextRoomDeadline: Moment? {
        roomWaiters.first?.deadline
    }
}

// MARK: Waiting for the end of sends

extension SendLedger {
    /// Whether somebody waits for sends to end: what lingers is to be sent.
    var isAwaited: Bool {
        phase == .closing || !barriers.isEmpty
    }

    /// Adds somebody who waits; false where the producer is closed and there is nothing to wait for.
    mutating func add(_ barrier: Barrier) -> Bool {
        guard phase != .closed else { return false }
        barriers.append(barrier)
        return true
    }

    mutating func cancelBarrier(_ id: UInt64) -> Barrier? {
        barriers.firstIndex { $0.id == id }.map { barriers.remove(at: $0) }
    }

    /// Takes off those who have waited long enough.
    ///
    /// - Parameter sends: With everything that was in the inbox *after* the lock was taken, so that it has whatever was
    ///   accepted before one of the barriers was added.
    mutating func passedBarriers(_ sends: SendsInFlight) -> [Barrier] {
        guard !barriers.isEmpty else { return [] }
        for index in barriers.indices where barriers[index].sequence == nil && !barriers[index].isForTheEnd {
            barriers[index].sequence = sends.lastSequence
        }
        var passed: [Barrier] = []
        barriers.removeAll { barrier in
            guard let sequence = barrier.sequence, sends.isPast(sequence) else { return false }
            passed.append(barrier)
            return true
        }
        return passed
    }

    /// Refuses new sends from now on, or brings an earlier deadline forward, and returns those that still waited to become
    /// one.
    mutating func beginClosing(by deadline: Moment) -> [RoomWaiter] {
        guard phase != .closed else { return [] }
        phase = .closing
        closing = Closing(deadline: min(deadline, closing?.deadline ?? deadline), purgeDeadline: closing?.purgeDeadline)
        return takeAllRoomWaiters()
    }

    /// The rest was given up (`rd_kafka_purge`).
    mutating func notePurge(reportedBy deadline: Moment) {
        closing?.purgeDeadline = deadline
    }

    /// Ends the ledger.
    mutating func close(_ summary: KafkaCloseSummary) -> (waiters: [RoomWaiter], barriers: [Barrier]) {
        phase = .closed
        self.summary = summary
        defer {
            barriers = []
            refused = []
        }
        return (takeAllRoomWaiters(), barriers)
    }
}

/// The ledger and its lock, with what a send that finds nobody waiting may know without it.
struct SharedSendLedger: ~Copyable, Sendable {
    // Senders who have to wait, the thread and whoever closes meet here; nobody holds it for longer than a few list
    // operations.
    private let ledger = Mutex(SendLedger())
    private let crowded = Atomic(false)
    private let thread = Atomic(false)

    /// ``SendLedger/isCrowded``, a moment ago.
    var isCrowded: Bool { crowded.load(ordering: .relaxed) }

    /// ``SendLedger/needsThread``, a moment ago: whoever changes it interrupts the thread, which then looks again.
    var needsThread: Bool { thread.load(ordering: .acquiring) }

    func withLock<Result>(_ body: (inout SendLedger) -> sending Result) -> sending Result {
        ledger.withLock { ledger in
            defer {
                crowded.store(ledger.isCrowded, ordering: .relaxed)
                thread.store(ledger.needsThread, ordering: .releasing)
            }
            return body(&ledger)
        }
    }
}
