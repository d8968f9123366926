internal import DequeModule
internal import Synchronization

/// The tasks that wait at a producer, for space in its buffer or for the end of a flush; and whether it is closing.
///
/// A value without threads: ``SharedSendWaitQueue`` keeps it behind a lock; the producer does what the returned actions say
/// outside of it, and resumes no task while it is held. The sends themselves are elsewhere (``SendPath``), and come past here only
/// where they have to wait.
struct SendWaitQueue {
    enum Phase {
        case open
        case closing
        case closed
    }

    /// A sender that found librdkafka's queue full.
    struct BufferSpaceWaiter {
        let id: UInt64
        let message: KafkaMessage
        /// Of this message alone.
        let block: SendBlock
        let deadline: Moment
        let continuation: CheckedContinuation<KafkaError?, Never>
    }

    /// A task that waits until every send that was accepted before has its outcome, or until the producer is closed.
    struct FlushWaiter {
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

    private var spaceWaiters: Deque<BufferSpaceWaiter> = []
    /// The waiter whose message librdkafka is offered just now: in no list, and its task may be cancelled all the same. With what
    /// it is told if there is no space.
    private var attempted: (id: UInt64, refusal: KafkaError?)?
    /// What senders are told that would have to wait for space; nil where they may.
    private var refusal: KafkaError?
    /// How many sends may be in flight for another attempt; nil until the thread has seen that a sender waits.
    private var lowWater: Int?
    private var flushWaiters: [FlushWaiter] = []
    /// What librdkafka did not take, and the thread still counts as in flight.
    private var refused: [(block: SendBlock, count: Int)] = []
}

// MARK: What others than the holder of the lock need to know

extension SendWaitQueue {
    /// Whether a sender waits for space, and comes before a new one.
    var hasSpaceWaiters: Bool { !spaceWaiters.isEmpty }

    /// Whether the thread has anything to do here.
    var needsThread: Bool {
        phase != .open || !spaceWaiters.isEmpty || !flushWaiters.isEmpty || !refused.isEmpty
    }
}

// MARK: Sends that librdkafka did not take

extension SendWaitQueue {
    /// Notes a send that is in flight no longer, or not with so many messages.
    ///
    /// - Returns: Whether the thread has to look: a task waits for what this changes, or there are many of them.
    mutating func refuse(_ block: SendBlock, count: Int = 1) -> Bool {
        guard phase != .closed else { return false }
        refused.append((block, count))
        return phase != .open || !spaceWaiters.isEmpty || attempted != nil || !flushWaiters.isEmpty
            || refused.count >= 128
    }

    var hasRefused: Bool { !refused.isEmpty }

    mutating func takeRefused() -> [(block: SendBlock, count: Int)] {
        guard !refused.isEmpty else { return [] }
        defer { refused = [] }
        return refused
    }
}

// MARK: Waiting for space

extension SendWaitQueue {
    enum SpaceAction {
        case none
        case refuse(KafkaError)
        /// The thread has to look: its next deadline may have changed, or there is space already.
        case interrupt
    }

    /// Lets a sender wait for space.
    mutating func wait(_ waiter: BufferSpaceWaiter) -> SpaceAction {
        guard phase == .open else { return .refuse(.closed()) }
        if let refusal { return .refuse(refusal) }
        spaceWaiters.append(waiter)
        return spaceWaiters.count == 1 ? .interrupt : .none
    }

    /// The sender whose turn it is, where there may be space for it. What was full is worth attempted again when a quarter of it
    /// has left: then one wake-up admits many sends instead of one.
    mutating func nextForSpace(inFlight count: Int) -> BufferSpaceWaiter? {
        guard !spaceWaiters.isEmpty else { return nil }
        let level = lowWater ?? count - count / 4
        lowWater = level
        guard count <= level || count == 0 else { return nil }
        // From the first that is let in on, each next one is tried until librdkafka says no again.
        lowWater = .max
        let waiter = spaceWaiters.removeFirst()
        attempted = (waiter.id, nil)
        return waiter
    }

    /// What becomes of a waiter that was tried.
    enum AttemptOutcome {
        /// It waits on, at the head.
        case waitsOn
        case refuse(KafkaError)
        /// Nothing is in flight, and there is no space for it all the same.
        case tooLarge
    }

    /// librdkafka has taken it.
    mutating func attemptSucceeded() {
        attempted = nil
    }

    /// librdkafka has not taken it.
    ///
    /// - Parameters:
    ///   - isFull: Whether that was for want of space.
    ///   - count: How many others are in flight.
    mutating func attemptFailed(_ waiter: BufferSpaceWaiter, isFull: Bool, inFlight count: Int) -> AttemptOutcome? {
        let refusal = attempted?.refusal
        attempted = nil
        if let refusal { return .refuse(refusal) }
        guard phase == .open else { return .refuse(.closed()) }
        guard isFull else { return nil }
        guard count > 0 else { return .tooLarge }
        lowWater = count - count / 4
        spaceWaiters.prepend(waiter)
        return .waitsOn
    }

    /// No sender waits any longer for space that is there.
    mutating func spaceServed() {
        forgetLowWater()
    }

    mutating func cancelBufferSpaceWaiter(_ id: UInt64) -> BufferSpaceWaiter? {
        if attempted?.id == id { attempted?.refusal = .cancelled(persistence: .notPersisted) }
        defer { forgetLowWater() }
        return spaceWaiters.firstIndex { $0.id == id }.map { spaceWaiters.remove(at: $0) }
    }

    /// Takes off all that wait, and refuses those that come until ``admitSpaceWaiters()``. One that is being tried just now is
    /// told when that has come to nothing.
    mutating func takeSpaceWaiters(refusing error: KafkaError) -> [BufferSpaceWaiter] {
        attempted?.refusal = error
        refusal = error
        return takeAllSpaceWaiters()
    }

    /// Senders may wait for space again.
    mutating func admitSpaceWaiters() {
        refusal = nil
    }

    /// What was noted for those who waited says nothing to those who will.
    private mutating func forgetLowWater() {
        if spaceWaiters.isEmpty, attempted == nil { lowWater = nil }
    }

    private mutating func takeAllSpaceWaiters() -> [BufferSpaceWaiter] {
        // Not Array(spaceWaiters) where there are none: the thread sanitizer takes what that does to the empty array, which
        // all arrays without elements share, for a race.
        guard !spaceWaiters.isEmpty else { return [] }
        defer {
            spaceWaiters = []
            forgetLowWater()
        }
        return Array(spaceWaiters)
    }

    /// Those that have waited too long. All wait equally long, so the first is always the next to go.
    mutating func overdueSpaceWaiters(at now: Moment) -> [BufferSpaceWaiter] {
        var result: [BufferSpaceWaiter] = []
        while let waiter = spaceWaiters.first, waiter.deadline <= now {
            result.append(spaceWaiters.removeFirst())
        }
        return result
    }

    var nextSpaceDeadline: Moment? {
        spaceWaiters.first?.deadline
    }
}

// MARK: Waiting for the end of sends

extension SendWaitQueue {
    /// Whether a task waits for sends to end: what lingers is to be sent.
    var isAwaited: Bool {
        phase == .closing || !flushWaiters.isEmpty
    }

    /// Adds a waiter; false where the producer is closed and there is nothing to wait for.
    mutating func add(_ waiter: FlushWaiter) -> Bool {
        guard phase != .closed else { return false }
        flushWaiters.append(waiter)
        return true
    }

    mutating func cancelFlushWaiter(_ id: UInt64) -> FlushWaiter? {
        flushWaiters.firstIndex { $0.id == id }.map { flushWaiters.remove(at: $0) }
    }

    /// Takes off those who have waited long enough.
    ///
    /// - Parameter inFlight: With everything that was in the path *after* the lock was taken, so that it has whatever was
    ///   accepted before one of the waiters was added.
    mutating func passedFlushWaiters(_ inFlight: SendPath.InFlight) -> [FlushWaiter] {
        guard !flushWaiters.isEmpty else { return [] }
        for index in flushWaiters.indices where flushWaiters[index].sequence == nil && !flushWaiters[index].isForTheEnd
        {
            flushWaiters[index].sequence = inFlight.lastSequence
        }
        var passed: [FlushWaiter] = []
        flushWaiters.removeAll { waiter in
            guard let sequence = waiter.sequence, inFlight.isPast(sequence) else { return false }
            passed.append(waiter)
            return true
        }
        return passed
    }

    /// Refuses new sends from now on, or brings an earlier deadline forward, and returns those that still waited to become
    /// one.
    mutating func beginClosing(by deadline: Moment) -> [BufferSpaceWaiter] {
        guard phase != .closed else { return [] }
        phase = .closing
        closing = Closing(deadline: min(deadline, closing?.deadline ?? deadline), purgeDeadline: closing?.purgeDeadline)
        return takeAllSpaceWaiters()
    }

    /// The rest was given up (`rd_kafka_purge`).
    mutating func notePurge(reportedBy deadline: Moment) {
        closing?.purgeDeadline = deadline
    }

    /// Ends the queue.
    mutating func close(_ summary: KafkaCloseSummary) -> (waiters: [BufferSpaceWaiter], flushWaiters: [FlushWaiter]) {
        phase = .closed
        self.summary = summary
        defer {
            flushWaiters = []
            refused = []
        }
        return (takeAllSpaceWaiters(), flushWaiters)
    }
}

/// The wait queue and its lock, with what a send may know without it where no task waits.
struct SharedSendWaitQueue: ~Copyable, Sendable {
    // Senders that have to wait, the thread and tasks that close meet here. It is held for a few list operations.
    private let queue = Mutex(SendWaitQueue())
    private let hasWaiters = Atomic(false)
    private let thread = Atomic(false)

    /// ``SendWaitQueue/hasSpaceWaiters``, a moment ago.
    var hasSpaceWaiters: Bool { hasWaiters.load(ordering: .relaxed) }

    /// ``SendWaitQueue/needsThread``, a moment ago: what changes it interrupts the thread, which then looks again.
    var needsThread: Bool { thread.load(ordering: .acquiring) }

    func withLock<Result>(_ body: (inout SendWaitQueue) -> sending Result) -> sending Result {
        queue.withLock { queue in
            defer {
                hasWaiters.store(queue.hasSpaceWaiters, ordering: .relaxed)
                thread.store(queue.needsThread, ordering: .releasing)
            }
            return body(&queue)
        }
    }
}
