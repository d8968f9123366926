internal import DeliveryCore
internal import DequeModule
internal import Logging
internal import Synchronization

/// A publisher behind its public face: what tasks share with the connection's thread, and what that thread keeps.
final class PublisherCore: ConnectionClient {
    /// How many bytes may be encoded and not yet sent. What waits beyond is certainly not stored where it never goes out.
    private static let maximumBacklog = 262_144

    let configuration: RabbitPublisher.Configuration
    let events = EventHub()
    let connected = ConnectedState()
    private let logger: Logger
    let wakeUp: WakePipe
    // Senders on any task meet the connection's thread here. No continuation is resumed while it is held.
    let queue: Mutex<SendQueue>
    let ending = EndOfClient<RabbitPublisher.CloseSummary>()
    /// Used by the connection's thread alone; the lock says so to the compiler, and is never waited for.
    private let thread: Mutex<PublisherThread>

    init(_ configuration: RabbitPublisher.Configuration, logger: Logger) throws(RabbitError) {
        try configuration.validate()
        guard let wakeUp = WakePipe() else { throw .connectionLost("the system has no descriptors left") }
        self.configuration = configuration
        self.logger = logger
        self.wakeUp = wakeUp
        queue = Mutex(
            SendQueue(
                maximumCount: configuration.maximumUnconfirmed,
                maximumBytes: configuration.maximumUnconfirmedBytes
            )
        )
        thread = Mutex(PublisherThread(configuration))
    }

    /// Starts the thread.
    func start() throws(RabbitError) {
        try ConnectionThread.start(configuration.broker, self, wakeUp, role: "publisher")
    }

    // MARK: Tasks

    func queued(_ message: RabbitMessage, _ target: SendTarget) throws(RabbitError) -> QueuedSend {
        if let fault = message.fault(maximumBodyBytes: configuration.maximumBodyBytes) { throw fault }
        let now = Moment.now
        return QueuedSend(
            message: message,
            target: target,
            accepted: now,
            deadline: now.advanced(by: configuration.confirmTimeout)
        )
    }

    /// Hands a message over where there is room.
    func offer(_ send: QueuedSend) throws(RabbitError) -> Bool {
        let isAccepted = try queue.withLock { queue throws(RabbitError) in try queue.offer(send) }
        if isAccepted { wakeUp.ring() }
        return isAccepted
    }

    /// Hands a message over, and waits for room before.
    func waitForRoom(_ send: QueuedSend) async throws(RabbitError) {
        let error = await waitCancellably { id, continuation in
            let waiter = SendQueue.RoomWaiter(id: id, send: send, continuation: continuation)
            if let now = queue.withLock({ $0.wait(waiter) }) { continuation.resume(returning: now) }
            wakeUp.ring()
        } onCancel: { id in
            self.leaveRoom(id)
        }
        if let error { throw error }
    }

    private func leaveRoom(_ id: UInt64) {
        let (waiter, admitted) = queue.withLock { ($0.removeRoomWaiter(id), $0.admit()) }
        waiter?.continuation.resume(returning: .cancelled(persistence: .notPersisted))
        admit(admitted)
    }

    private func admit(_ waiters: [SendQueue.RoomWaiter]) {
        for waiter in waiters { waiter.continuation.resume(returning: nil) }
        if !waiters.isEmpty { wakeUp.ring() }
    }

    /// Messages that wait to be encoded were recalled. Their room is for others now, and not when they would have been sent, which may
    /// be long where the broker is blocked or away.
    func noteRecalled() {
        queue.withLock { $0.noteRecalled() }
        wakeUp.ring()
    }

    func flush() async throws(RabbitError) {
        let isDone = await waitCancellably { id, continuation in
            queue.withLock { queue in
                queue.addFlush(.init(id: id, number: queue.accepted, continuation: continuation))
            }
            wakeUp.ring()
            // The thread may have ended, and looks at nothing any more.
            if ending.hasEnded { resumeFlush(id, true) }
        } onCancel: { id in
            self.resumeFlush(id, false)
        }
        if !isDone { throw .cancelled(persistence: nil) }
    }

    private func resumeFlush(_ id: UInt64, _ isDone: Bool) {
        queue.withLock { $0.removeFlush(id) }?.continuation.resume(returning: isDone)
    }

    func beginClosing(within timeout: Duration) {
        let deadline = Moment.now.advanced(by: timeout.asWait)
        let waiters = queue.withLock { $0.close(by: deadline) }
        for waiter in waiters { waiter.continuation.resume(returning: .closed()) }
        wakeUp.ring()
    }

    @discardableResult
    func close(within timeout: Duration) async -> RabbitPublisher.CloseSummary {
        beginClosing(within: timeout)
        return await ending.wait()
    }

    // MARK: The connection's thread

    var channelRequests: [ClientMethod] { configuration.topology.requests + [.confirmSelect] }

    func channelOpened(_ generation: Int, _ setup: ChannelSetup, _ wire: Wire) {
        thread.withLock { $0.channelOpened(generation) }
    }

    func advance(_ wire: Wire?, at now: Moment) -> Moment? {
        var done = FinishedSends()
        let (arrivals, lateWaiters, admitted, hasRecalled, closeDeadline) = queue.withLock { queue in
            let late = queue.expireRoomWaiters(at: now)
            let admitted = late.isEmpty ? [] : queue.admit()
            return (queue.takeArrivals(), late, admitted, queue.takeRecalled(), queue.closeDeadline)
        }
        let next = thread.withLock { thread in
            thread.take(arrivals)
            if hasRecalled { thread.dropRecalled(&done) }
            thread.expire(at: now, &done)
            if let closeDeadline { thread.advanceClosing(closeDeadline, at: now, &done) }
            if let wire { thread.encode(to: wire, maximumBacklog: Self.maximumBacklog, &done) }
            return [thread.nextDeadline, closeDeadline].compactMap(\.self).min()
        }
        if !lateWaiters.isEmpty {
            let error = thread.withLock { $0.timedOut("there was no room for it") }.about(.notPersisted)
            for waiter in lateWaiters { waiter.continuation.resume(returning: error) }
        }
        for waiter in admitted { waiter.continuation.resume(returning: nil) }
        settle(done)
        let roomDeadline = queue.withLock { $0.nextRoomDeadline }
        return [next, roomDeadline].compactMap(\.self).min()
    }

    func received(_ method: ServerMethod, _ content: ReceivedContent?, _ wire: Wire) throws(RabbitError) {
        try thread.withLock { thread throws(RabbitError) in try thread.received(method, content, wire) }
    }

    func endOfInput() {
        settle(thread.withLock { $0.takeAnswered() })
    }

    func channelLost(_ error: RabbitError) {
        var done = FinishedSends()
        thread.withLock { $0.channelLost(error, &done) }
        settle(done)
    }

    func setBlocked(_ isBlocked: Bool) {
        thread.withLock { $0.isBlocked = isBlocked }
    }

    var connectionFault: RabbitError? { thread.withLock { $0.fault } }

    func note(_ event: RabbitEvent) {
        if case .connectionFailed(let error, _) = event { thread.withLock { $0.lastProblem = error } }
        if case .disconnected(let error) = event { thread.withLock { $0.lastProblem = error } }
        connected.note(event)
        event.log(to: logger)
        events.send(event)
    }

    func failed(_ error: RabbitError) {
        var done = FinishedSends()
        let (waiters, arrivals) = queue.withLock { ($0.refuse(error), $0.takeArrivals()) }
        thread.withLock { thread in
            thread.take(arrivals)
            thread.fail(error, &done)
        }
        for waiter in waiters { waiter.continuation.resume(returning: error.about(.notPersisted)) }
        settle(done)
    }

    var wantsEnd: Bool { thread.withLock { $0.wantsEnd } }

    func ended() {
        // What came in between refusing and here is there: nothing is accepted any more.
        failed(queue.withLock { $0.refusal } ?? .closed())
        connected.end(.closed(persistence: nil))
        let summary = thread.withLock { $0.summary }
        ending.end(summary)
        let flushes = queue.withLock { $0.takeFlushes(oldest: nil) }
        for waiter in flushes { waiter.continuation.resume(returning: true) }
        events.finish()
    }

    /// Tells the tasks that wait, with no lock held, and gives the room to others.
    private func settle(_ done: FinishedSends) {
        for report in done.reports { report.handOn() }
        var bytes = 0
        for (send, result) in done.sends {
            send.target.finish(result)
            bytes += send.size
        }
        let count = done.sends.count
        let (admitted, isFlushing) = queue.withLock { queue in
            (count == 0 ? [] : queue.finished(count, bytes: bytes), queue.isFlushing)
        }
        admit(admitted)
        guard isFlushing else { return }
        let oldest = thread.withLock { $0.oldest }
        let flushes = queue.withLock { queue in
            queue.takeFlushes(oldest: oldest ?? queue.arrivals.first?.number)
        }
        for waiter in flushes { waiter.continuation.resume(returning: true) }
    }
}
