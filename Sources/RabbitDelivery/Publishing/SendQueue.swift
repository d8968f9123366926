internal import DequeModule

/// What tasks have handed over and what waits for room: the part of a publisher that they share with its thread. A value.
struct SendQueue {
    /// A task that waits for room, with its message.
    struct RoomWaiter {
        let id: UInt64
        let send: QueuedSend
        let continuation: CheckedContinuation<RabbitError?, Never>
    }

    /// A task that waits for all before it.
    struct FlushWaiter {
        let id: UInt64
        /// The last message accepted before.
        let number: UInt64
        let continuation: CheckedContinuation<Bool, Never>
    }

    private let maximumCount: Int
    private let maximumBytes: Int

    private(set) var arrivals: [QueuedSend] = []
    private var roomWaiters: Deque<RoomWaiter> = []
    private var flushWaiters: [FlushWaiter] = []
    private(set) var unfinished = 0
    private var unfinishedBytes = 0
    private(set) var accepted: UInt64 = 0
    /// Why nothing more is accepted.
    private(set) var refusal: RabbitError?
    private(set) var closeDeadline: Moment?
    /// Whether messages that wait to be encoded were recalled.
    private var hasRecalled = false

    init(maximumCount: Int, maximumBytes: Int) {
        self.maximumCount = maximumCount
        self.maximumBytes = maximumBytes
    }

    private func hasRoom(_ size: Int) -> Bool {
        unfinished < maximumCount && (unfinishedBytes + size <= maximumBytes || unfinished == 0)
    }

    /// Accepts a message where there is room, and no task waits for room that came before.
    mutating func offer(_ send: QueuedSend) throws(RabbitError) -> Bool {
        if let refusal { throw refusal.about(.notPersisted) }
        guard roomWaiters.isEmpty, hasRoom(send.size) else { return false }
        accept(send)
        return true
    }

    private mutating func accept(_ send: QueuedSend) {
        accepted += 1
        send.number = accepted
        unfinished += 1
        unfinishedBytes += send.size
        arrivals.append(send)
    }

    /// Waits for room.
    ///
    /// - Returns: Why not, or nothing; nil where it waits.
    mutating func wait(_ waiter: RoomWaiter) -> RabbitError?? {
        if let refusal { return .some(refusal.about(.notPersisted)) }
        if roomWaiters.isEmpty, hasRoom(waiter.send.size) {
            accept(waiter.send)
            return .some(nil)
        }
        roomWaiters.append(waiter)
        return nil
    }

    mutating func removeRoomWaiter(_ id: UInt64) -> RoomWaiter? {
        roomWaiters.firstIndex { $0.id == id }.map { roomWaiters.remove(at: $0) }
    }

    /// Takes the messages that the thread does not know yet.
    mutating func takeArrivals() -> [QueuedSend] {
        defer { arrivals = [] }
        return arrivals
    }

    /// Messages have their outcomes: so many, with so many bytes. Accepts those that waited for the room.
    ///
    /// - Returns: The tasks whose messages are accepted.
    mutating func finished(_ count: Int, bytes: Int) -> [RoomWaiter] {
        unfinished -= count
        unfinishedBytes -= bytes
        return admit()
    }

    /// Accepts those for whom there is room now: also a task that gave up makes way for smaller messages behind its own.
    ///
    /// - Returns: The tasks whose messages are accepted.
    mutating func admit() -> [RoomWaiter] {
        var admitted: [RoomWaiter] = []
        while let waiter = roomWaiters.first, hasRoom(waiter.send.size) {
            roomWaiters.removeFirst()
            accept(waiter.send)
            admitted.append(waiter)
        }
        return admitted
    }

    /// The tasks that have waited for room too long. They came one after the other, with the same time each.
    mutating func expireRoomWaiters(at now: Moment) -> [RoomWaiter] {
        var late: [RoomWaiter] = []
        while let waiter = roomWaiters.first, waiter.send.deadline <= now { late.append(roomWaiters.removeFirst()) }
        return late
    }

    var roomWaiterCount: Int { roomWaiters.count }

    var nextRoomDeadline: Moment? { roomWaiters.first?.send.deadline }

    mutating func noteRecalled() { hasRecalled = true }

    /// Whether messages were recalled since this was asked last.
    mutating func takeRecalled() -> Bool {
        defer { hasRecalled = false }
        return hasRecalled
    }

    // MARK: Flushing

    mutating func addFlush(_ waiter: FlushWaiter) { flushWaiters.append(waiter) }

    mutating func removeFlush(_ id: UInt64) -> FlushWaiter? {
        flushWaiters.firstIndex { $0.id == id }.map { flushWaiters.remove(at: $0) }
    }

    var isFlushing: Bool { !flushWaiters.isEmpty }

    /// The flushes for which all is done, where this message is the oldest without an outcome.
    mutating func takeFlushes(oldest: UInt64?) -> [FlushWaiter] {
        let done = flushWaiters.filter { waiter in oldest.map { $0 > waiter.number } ?? true }
        if !done.isEmpty { flushWaiters.removeAll { waiter in done.contains { $0.id == waiter.id } } }
        return done
    }

    // MARK: The end

    /// Nothing more is accepted, and the end has to come by this time: the earliest counts.
    ///
    /// - Returns: The tasks that waited for room.
    mutating func close(by deadline: Moment) -> [RoomWaiter] {
        closeDeadline = min(closeDeadline ?? deadline, deadline)
        return refuse(.closed())
    }

    mutating func refuse(_ error: RabbitError) -> [RoomWaiter] {
        if refusal == nil { refusal = error }
        defer { roomWaiters = [] }
        return roomWaiters.isEmpty ? [] : Array(roomWaiters)
    }
}
