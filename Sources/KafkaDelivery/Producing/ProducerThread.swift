/// What the producer's thread does from the making of the producer to its end: reads reports, offers librdkafka what waits for
/// space, wakes what waits for a flush, runs tasks of the executor, and takes the steps of closing.
struct ProducerThread {
    private let core: ProducerCore
    private var reports: ReportReader

    init(_ core: ProducerCore, _ reports: ReportReader) {
        self.core = core
        self.reports = reports
    }

    /// Runs until the producer is closed.
    mutating func run() {
        core.executor.begin()
        serveUntilClosed()
        core.executor.end()
        core.letGoOfClient()
    }

    private mutating func serveUntilClosed() {
        while true {
            core.executor.runJobs()
            guard let timeout = serveWaiting() else { return }
            readEvents(timeout: core.executor.hasJobs ? 0 : timeout)
        }
    }

    /// How many of librdkafka's events are handled before the thread looks after tasks and those that wait.
    private static let eventsInTurn = 32

    /// Handles what librdkafka has, waiting for the first of it; but not without end: senders that go on at once may keep more
    /// coming.
    private mutating func readEvents(timeout: Int32) {
        var timeout = timeout
        for _ in 0..<Self.eventsInTurn {
            guard let event = core.queue.nextEvent(timeout: timeout) else { return }
            timeout = 0
            if core.waitQueue.needsThread, !reports.inFlight.isClosing {
                // What was under way when closing began counts for its summary.
                reports.inFlight.isClosing = core.waitQueue.withLock { $0.phase == .closing }
            }
            reports.handle(event, core.path)
        }
    }

    /// Looks after those that wait, and metrics.
    ///
    /// - Returns: How long to wait for an event, in milliseconds, -1 without a limit; nil where it was the end.
    private mutating func serveWaiting() -> Int32? {
        if core.waitQueue.needsThread, takeStock() {
            serveSpaceWaiters()
            // A flush may wait for one that was counted as in flight while it was tried.
            _ = takeStock()
        }
        // Now that what librdkafka did not take is in flight no longer: it was never sent.
        exportMetrics()
        if reports.hasFailed {
            // What senders put into the path is in flight, too.
            reports.inFlight.takeOverSealed(core.path)
            reports.purgeAfterFatalError(at: .now)
        }
        return isFinished() ? nil : nextTimeout()
    }

    /// Brings metrics up to date, where that is due.
    private mutating func exportMetrics() {
        guard let next = reports.nextExport else { return }
        let now = Moment.now
        guard next <= now else { return }
        _ = takeStock()
        // In this order: a sender notes what was refused before it returns.
        let isDecided = core.path.haveAllReturned && core.waitQueue.withLock { !$0.hasRefused }
        reports.exportMetrics(isDecided: isDecided, at: now)
    }

    /// Brings the list of sends up to date, and tells those that wait for what has ended.
    ///
    /// - Returns: Whether a sender waits for space.
    private mutating func takeStock() -> Bool {
        let (hasSpaceWaiters, ended, flushed) = core.waitQueue.withLock { queue in
            reports.inFlight.isClosing = queue.phase == .closing
            // In this order: what was refused had been put into the path before, and so had what a flush waits for.
            let refused = queue.takeRefused()
            reports.inFlight.takeOverSealed(core.path)
            let ended = refused.filter { reports.inFlight.remove($0.block, count: $0.count) }
            return (queue.hasSpaceWaiters, ended, queue.passedFlushWaiters(reports.inFlight))
        }
        for (block, _) in ended { block.end() }
        for waiter in flushed { waiter.continuation.resume(returning: nil) }
        return hasSpaceWaiters
    }
}

// MARK: Space in the buffer

extension ProducerThread {
    private mutating func serveSpaceWaiters() {
        for waiter in core.waitQueue.withLock({ $0.overdueSpaceWaiters(at: .now) }) {
            waiter.continuation.resume(
                returning: KafkaError(
                    .timedOut,
                    persistence: .notPersisted,
                    recovery: .retry,
                    reason: "the buffer had no room for the message within \(core.messageTimeout)",
                    code: RdKafkaCode.queueFull.name
                )
            )
        }
        while let waiter = core.waitQueue.withLock({ $0.nextForSpace(inFlight: reports.inFlight.count) }) {
            reports.inFlight.append(Unmanaged.passRetained(waiter.block))
            let code = core.produce(waiter.message, to: nil, waiter.block.promise(0).opaque)
            if code == .success {
                core.waitQueue.withLock { $0.attemptSucceeded() }
                waiter.continuation.resume(returning: nil)
                continue
            }
            reports.inFlight.remove(waiter.block)
            // What has taken the space has come through the path.
            reports.inFlight.takeOver(core.path)
            let isFull = code == .queueFull
            let count = reports.inFlight.count
            switch core.waitQueue.withLock({ $0.attemptFailed(waiter, isFull: isFull, inFlight: count) }) {
            case .waitsOn: return
            case .refuse(let error): waiter.continuation.resume(returning: error)
            case .tooLarge: waiter.continuation.resume(returning: Self.tooLargeForBuffer(waiter.message))
            case nil: waiter.continuation.resume(returning: core.refusal(code, of: waiter.message))
            }
        }
        core.waitQueue.withLock { $0.spaceServed() }
    }

    /// Nothing else is in the buffer, and there is still no space.
    private static func tooLargeForBuffer(_ message: KafkaMessage) -> KafkaError {
        KafkaError(
            .messageTooLarge,
            persistence: .notPersisted,
            recovery: .fixRequest,
            reason: "the message of \(message.payloadCount) bytes is larger than maximumBufferedBytes",
            code: RdKafkaCode.queueFull.name
        )
    }
}

// MARK: The end

extension ProducerThread {
    /// Milliseconds until something is due, -1 where nothing is.
    private func nextTimeout() -> Int32 {
        var next = reports.nextExport
        if let purge = reports.purgeDeadline { next = min(purge, next ?? purge) }
        if core.waitQueue.needsThread {
            let (space, closing) = core.waitQueue.withLock { ($0.nextSpaceDeadline, $0.closing) }
            for deadline in [space, closing.map { $0.purgeDeadline ?? $0.deadline }] {
                if let deadline { next = min(deadline, next ?? deadline) }
            }
        }
        guard let next else { return -1 }
        let remaining = Moment.now.duration(to: next)
        return remaining <= .zero ? 0 : remaining.milliseconds
    }

    /// Takes the next step of closing, where it is due; true when the thread has nothing left to do.
    private mutating func isFinished() -> Bool {
        guard core.waitQueue.needsThread, let closing = core.waitQueue.withLock({ $0.closing }) else { return false }
        let now = Moment.now
        // The path was closed before the wait queue was.
        reports.inFlight.takeOver(core.path)
        if reports.inFlight.count == 0 {
            finish()
            return true
        }
        guard let purgeDeadline = closing.purgeDeadline else {
            if now >= closing.deadline {
                core.client?.purge()
                // librdkafka answers a purge at once, except for a broker thread that hangs in a name look-up.
                core.waitQueue.withLock { $0.notePurge(reportedBy: now.advanced(by: .seconds(1))) }
            }
            return false
        }
        guard now >= purgeDeadline else { return false }
        finish()
        return true
    }

    private mutating func finish() {
        // What was refused at the last moment is not unknown.
        _ = takeStock()
        let abandoned = reports.abandon()
        core.path.keep(abandoned)
        let (waiters, flushed) = core.waitQueue.withLock { $0.close(reports.inFlight.summary) }
        for waiter in waiters { waiter.continuation.resume(returning: .closed()) }
        reports.fail(abandoned)
        reports.exportMetrics(isDecided: true, at: .now)
        for waiter in flushed { waiter.continuation.resume(returning: nil) }
    }
}
