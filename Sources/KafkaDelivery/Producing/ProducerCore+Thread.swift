internal import Logging
internal import Synchronization

/// Reading reports, on the producer's thread and on senders' ones; and what else that thread does, up to its end.
extension ProducerCore {
    /// Runs on the producer's thread until it is closed: sleeps until librdkafka has a report, or somebody interrupts.
    func serveQueue() {
        executor.begin()
        serveUntilClosed()
        executor.end()
        letGoOfClient()
    }

    private func serveUntilClosed() {
        while true {
            executor.runJobs()
            guard let timeout = serving.withLock({ serveWaiting(&$0) }) else { return }
            if executor.hasJobs {
                serveEvents(timeout: 0)
            } else if demand.mayRest(), !ledger.needsThread {
                demand.rest(sleep.pause)
            } else {
                serveEvents(timeout: timeout)
            }
        }
    }

    /// How many of librdkafka's events are handled before the thread looks after tasks and those who wait.
    private static let eventsInTurn = 32

    /// Handles what librdkafka has, waiting for the first of it.
    private func serveEvents(timeout: Int32) {
        if let first = sleep.nextEvent(timeout: timeout) {
            serving.withLock { serving in
                handle(first, &serving)
                handleEvents(&serving)
            }
        }
    }

    /// What is there already, but not without end: senders that go on at once may keep more coming.
    private func handleEvents(_ serving: inout Serving) {
        var turn = 1
        while turn < Self.eventsInTurn, let event = sleep.nextEvent(timeout: 0) {
            handle(event, &serving)
            turn += 1
        }
    }

    /// How many reports a sender reads at most, but for those that come with the last of them.
    private static let reportsOfSender = 1_024

    /// Reads the reports that are there on a sender's thread, where that is of use and nobody else does just now.
    func readReports() {
        guard demand.isForSenders, !ledger.needsThread else { return }
        let hasRead: Void? = serving.withLockIfFree { serving in
            guard !serving.isOver else { return }
            demand.noteReading()
            var count = 0
            while count < Self.reportsOfSender, let event = sleep.nextEvent(timeout: 0) {
                count += max(event.reportCount, 1)
                handle(event, &serving)
            }
        }
        // This may have taken what was to wake the thread: an interrupt, which ends whichever look comes first, or the last
        // report that somebody waits for there.
        if hasRead != nil, ledger.needsThread || executor.hasForeignJobs { sleep.interrupt() }
    }

    /// What whoever reads reports needs.
    struct Serving {
        var sends = SendsInFlight()
        var metrics: ProducerMetrics?
        let isMetered: Bool
        /// Whether nobody reads any more.
        var isOver = false
        /// What had no outcome then.
        var abandoned: [SendBlock] = []
        /// The last thing that was wrong with a connection, until a message gets through again.
        var connectionError: KafkaError?

        init(metrics: ProducerMetrics?) {
            self.metrics = metrics
            self.isMetered = metrics != nil
        }

        /// Keeps what says why nothing gets through. That all brokers are down (`_ALL_BROKERS_DOWN`) follows from what was
        /// said of each, with its address, and does not take the place of that.
        mutating func note(_ error: KafkaError) {
            switch error.kind {
            case .authentication: connectionError = error
            case .brokersUnreachable where connectionError == nil || !error.isOfAllBrokers: connectionError = error
            default: break
            }
        }
    }

    /// Brings metrics up to date, where that is due.
    private func export(_ serving: inout Serving) {
        guard let next = serving.metrics?.next else { return }
        let now = Moment.now
        guard next <= now else { return }
        serving.sends.takeOverSealed(inbox)
        serving.metrics?.export(inFlight: serving.sends.count, at: now)
    }

    private func handle(_ event: borrowing RdKafkaEvent, _ serving: inout Serving) {
        switch event.kind {
        case .deliveryReports: handleReports(event, &serving)
        case .log: event.log(to: logger)
        case .error: handleError(event, &serving)
        default: break
        }
    }

    private func handleReports(_ event: borrowing RdKafkaEvent, _ serving: inout Serving) {
        if ledger.needsThread, !serving.sends.isClosing {
            // What was under way when closing began counts for its summary.
            serving.sends.isClosing = ledger.withLock { $0.phase == .closing }
        }
        // Every send is in the inbox before librdkafka has it, so afterwards each report's is in the list.
        serving.sends.takeOver(inbox)
        var isFirst = serving.isMetered
        while let report = event.nextReport() {
            guard let opaque = report.opaque else { continue }
            if isFirst {
                serving.metrics?.note(microseconds: report.latency)
                isFirst = false
            }
            guard report.isConfirmed else {
                // What the reports of an event say of each other is known when all have been read.
                handleFailures(report, event, &serving)
                continue
            }
            let slot = SendSlot(opaque: opaque)
            let block = slot.block
            if serving.connectionError != nil { serving.connectionError = nil }
            if serving.isMetered { serving.metrics?.noteConfirmed() }
            let isLast = serving.sends.settle(block, failure: nil)
            slot.resolve(report.metadata)
            if isLast { block.takeRetainedValue().end() }
        }
    }

    /// Handles the reports of an event from its first one with an error on: they have all one.
    @inline(never)
    private func handleFailures(
        _ first: RdKafkaReport,
        _ event: borrowing RdKafkaEvent,
        _ serving: inout Serving
    ) {
        var reports = [first]
        while let report = event.nextReport() { reports.append(report) }
        let batch = RefusedBatch(reports)
        for report in reports {
            guard let opaque = report.opaque else { continue }
            let slot = SendSlot(opaque: opaque)
            let block = slot.block
            let error = explain(batch.error(report), serving.connectionError)
            serving.metrics?.note(error)
            let isLast = serving.sends.settle(block, failure: error)
            slot.resolve(error)
            if isLast { block.takeRetainedValue().end() }
        }
    }

    /// A time-out, and what closing cut short, say more with the reason why nothing got through, and a fatal error with what
    /// is behind it.
    private func explain(_ error: KafkaError, _ connectionError: KafkaError?) -> KafkaError {
        if error.kind == .timedOut, let cause = connectionError {
            // What was on its way reached a broker, which then did not answer.
            let kind: KafkaError.Kind = error.persistence == .notPersisted ? cause.kind : .timedOut
            return KafkaError(
                kind,
                persistence: error.persistence,
                recovery: kind == .authentication ? .fixRequest : .retry,
                reason: "no confirmation within \(messageTimeout), and \(cause.reason)",
                code: error.code
            )
        }
        if error.kind == .closed, fatalError == nil, let cause = connectionError {
            return KafkaError(
                .closed,
                persistence: error.persistence,
                recovery: .recreateClient,
                reason: "the producer was closed before there was a confirmation, and \(cause.reason)",
                code: error.code
            )
        }
        if error.kind == .fatal || error.kind == .closed, let fatal = fatalError {
            return KafkaError(
                fatal.kind,
                persistence: error.persistence,
                recovery: .recreateClient,
                reason: fatal.reason,
                code: fatal.code
            )
        }
        return error
    }

    private func handleError(_ event: borrowing RdKafkaEvent, _ serving: inout Serving) {
        guard let bare = event.error else { return }
        let error = client?.explain(bare) ?? bare
        if event.isFatal {
            logger.error("Producer failed for good", metadata: ["kafka_error": "\(fatalError ?? error)"])
        } else {
            serving.note(error)
            // As the consumer's: a broker that is away comes back by itself, the rest has to be put right by somebody.
            logger.log(
                level: error.recovery == .retry ? .info : .warning,
                "Producer trouble, it goes on",
                metadata: ["kafka_error": "\(error)"]
            )
        }
    }

    /// Does what is due: for those who wait for room, for sends to end, for the end of the producer, and for metrics.
    ///
    /// - Returns: Milliseconds until more is due, -1 where nothing is; nil where this was the end.
    private func serveWaiting(_ serving: inout Serving) -> Int32? {
        if serving.isMetered { export(&serving) }
        if ledger.needsThread, takeStock(&serving) {
            serveRoomWaiters(&serving)
            // A flush may wait for one that was counted as in flight while it was tried.
            _ = takeStock(&serving)
        }
        return isFinished(&serving) ? nil : nextTimeout(serving)
    }

    /// Brings the list of sends up to date, and tells those who wait for what has ended.
    ///
    /// - Returns: Whether somebody waits for room.
    private func takeStock(_ serving: inout Serving) -> Bool {
        let (isCrowded, ended, barriers) = ledger.withLock { ledger in
            serving.sends.isClosing = ledger.phase == .closing
            // In this order: what was refused had been put into the inbox before, and so had what a barrier waits for.
            let refused = ledger.takeRefused()
            serving.sends.takeOverSealed(inbox)
            let ended = refused.filter { serving.sends.remove($0.block, count: $0.count) }
            return (ledger.isCrowded, ended, ledger.passedBarriers(serving.sends))
        }
        for (block, _) in ended { block.end() }
        for barrier in barriers { barrier.continuation.resume(returning: nil) }
        return isCrowded
    }

    private func serveRoomWaiters(_ serving: inout Serving) {
        for waiter in ledger.withLock({ $0.overdueRoomWaiters(at: .now) }) {
            waiter.continuation.resume(
                returning: KafkaError(
                    .timedOut,
                    persistence: .notPersisted,
                    recovery: .retry,
                    reason: "the buffer had no room for the message within \(messageTimeout)",
                    code: RdKafkaCode.queueFull.name
                )
            )
        }
        while let waiter = ledger.withLock({ $0.nextForRoom(inFlight: serving.sends.count) }) {
            serving.sends.append(Unmanaged.passRetained(waiter.block))
            let code = produce(waiter.message, to: nil, waiter.block.slot(0).opaque)
            if code == .success {
                ledger.withLock { $0.triedWithSuccess() }
                waiter.continuation.resume(returning: nil)
                continue
            }
            serving.sends.remove(waiter.block)
            // What has taken the room has come through the inbox.
            serving.sends.takeOver(inbox)
            let isFull = code == .queueFull
            switch ledger.withLock({ $0.triedInVain(waiter, isFull: isFull, inFlight: serving.sends.count) }) {
            case .waitsOn: return
            case .refuse(let error): waiter.continuation.resume(returning: error)
            case .tooLarge: waiter.continuation.resume(returning: tooLargeForBuffer(waiter.message))
            case nil: waiter.continuation.resume(returning: refusal(code, of: waiter.message))
            }
        }
        ledger.withLock { $0.roomServed() }
    }

    /// Nothing else is in the buffer, and there is still no room.
    private func tooLargeForBuffer(_ message: KafkaMessage) -> KafkaError {
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

extension ProducerCore {
    /// Milliseconds until something is due, -1 where nothing is.
    private func nextTimeout(_ serving: borrowing Serving) -> Int32 {
        var next = serving.isMetered ? serving.metrics?.next : nil
        if ledger.needsThread {
            let (room, closing) = ledger.withLock { ($0.nextRoomDeadline, $0.closing) }
            for deadline in [room, closing.map { $0.purgeDeadline ?? $0.deadline }] {
                if let deadline { next = min(deadline, next ?? deadline) }
            }
        }
        guard let next else { return -1 }
        let remaining = Moment.now.duration(to: next)
        return remaining <= .zero ? 0 : remaining.milliseconds
    }

    /// Takes the next step of closing, where it is due; true when the thread has nothing left to do.
    private func isFinished(_ serving: inout Serving) -> Bool {
        guard ledger.needsThread, let closing = ledger.withLock({ $0.closing }) else { return false }
        let now = Moment.now
        // The inbox was closed before the ledger was.
        serving.sends.takeOver(inbox)
        if serving.sends.count == 0 {
            finish(&serving)
            return true
        }
        guard let purgeDeadline = closing.purgeDeadline else {
            if now >= closing.deadline {
                client?.purge()
                // librdkafka answers a purge at once, except for a broker thread that hangs in a name look-up.
                ledger.withLock { $0.notePurge(reportedBy: now.advanced(by: .seconds(1))) }
            }
            return false
        }
        guard now >= purgeDeadline else { return false }
        finish(&serving)
        return true
    }

    private func finish(_ serving: inout Serving) {
        // What was refused at the last moment is not unknown.
        _ = takeStock(&serving)
        let count = serving.sends.count
        let abandoned = serving.sends.abandon()
        // Their senders may not have got so far as to look into them, however long ago they claimed a slot.
        serving.abandoned = abandoned
        if count > 0 {
            logger.warning(
                "Producer closed without an answer to some sends",
                metadata: ["kafka_messages": "\(count)"]
            )
        }
        let (waiters, barriers) = ledger.withLock { $0.close(serving.sends.summary) }
        for waiter in waiters { waiter.continuation.resume(returning: .closed()) }
        let error = KafkaError(
            .closed,
            persistence: .possiblyPersisted,
            recovery: .recreateClient,
            reason: "the producer was closed before the broker answered"
        )
        for block in abandoned {
            serving.metrics?.note(error, count: block.messageCount)
            block.failRest(error)
            block.end()
        }
        serving.isOver = true
        demand.end()
        serving.metrics?.export(inFlight: 0, at: Moment.now)
        for barrier in barriers { barrier.continuation.resume(returning: nil) }
    }
}
