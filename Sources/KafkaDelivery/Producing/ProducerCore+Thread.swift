internal import CRdKafka
internal import DequeModule
internal import Logging
internal import Synchronization

/// The producer's thread: serves librdkafka's events, and ends.
extension ProducerCore {
    /// Runs on the producer's thread until it is closed: sleeps until librdkafka has a report, or somebody interrupts.
    func serveQueue() {
        var batch = ReportBatch(metrics: ProducerMetrics(configuration))
        while !isFinished(&batch) {
            if let event = queue.poll(timeout: nextTimeout(batch)) {
                handle(event, &batch)
            }
            while let event = queue.poll(timeout: 0) {
                handle(event, &batch)
            }
            serveRoomWaiters()
            export(&batch.metrics, isDue: false)
        }
    }

    /// Brings metrics up to date, where that is due.
    private func export(_ metrics: inout ProducerMetrics?, isDue: Bool) {
        guard let next = metrics?.next else { return }
        let now = clock.now
        guard isDue || next <= now else { return }
        metrics?.export(inFlight: ledger.withLock { $0.count }, at: now)
    }

    /// One event's reports, with the array kept from event to event.
    private struct ReportBatch {
        var metrics: ProducerMetrics?
        /// Alive for as long as they are on the ledger's list, and then until they are released.
        var reports: [(pending: Unmanaged<PendingDelivery>, outcome: PendingDelivery.Outcome)] = []
        /// The last thing that was wrong with a connection, until a message gets through again.
        var connectionError: KafkaError?

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

    private func handle(_ event: consuming RdKafkaEvent, _ batch: inout ReportBatch) {
        switch event.kind {
        case .deliveryReports: handleReports(event, &batch)
        case .log: event.log(to: logger)
        case .error: handleError(event, &batch)
        default: break
        }
    }

    private func handleReports(_ event: borrowing RdKafkaEvent, _ batch: inout ReportBatch) {
        while let report = event.nextMessage() {
            guard let opaque = report.pointee._private else { continue }
            let pending = Unmanaged<PendingDelivery>.fromOpaque(opaque)
            if batch.metrics != nil, batch.reports.isEmpty {
                batch.metrics?.note(microseconds: rd_kafka_message_latency(report))
            }
            batch.reports.append((pending, explain(PendingDelivery.Outcome(report), &batch)))
        }
        // Some at a time, so that senders do not have to wait for long.
        for start in stride(from: 0, to: batch.reports.count, by: 64) {
            ledger.withLock { ledger in
                for (pending, outcome) in batch.reports[start..<min(start + 64, batch.reports.count)] {
                    ledger.settle(pending, outcome)
                }
            }
        }
        let barriers = ledger.withLock { $0.passedBarriers() }
        if batch.metrics != nil {
            for (_, outcome) in batch.reports { batch.metrics?.note(outcome) }
        }
        for (pending, outcome) in batch.reports { pending.takeRetainedValue().resolve(outcome) }
        for barrier in barriers { barrier.continuation.resume(returning: nil) }
        batch.reports.removeAll(keepingCapacity: true)
    }

    /// A time-out, and what closing cut short, say more with the reason why nothing got through, and a fatal error with what
    /// is behind it.
    private func explain(_ outcome: PendingDelivery.Outcome, _ batch: inout ReportBatch) -> PendingDelivery.Outcome {
        guard case .failure(let error) = outcome else {
            batch.connectionError = nil
            return outcome
        }
        if error.kind == .timedOut, let cause = batch.connectionError {
            // What was on its way reached a broker, which then did not answer.
            let kind: KafkaError.Kind = error.persistence == .notPersisted ? cause.kind : .timedOut
            return .failure(
                KafkaError(
                    kind,
                    persistence: error.persistence,
                    recovery: kind == .authentication ? .fixRequest : .retry,
                    reason: "no confirmation within \(messageTimeout), and \(cause.reason)",
                    code: error.code
                )
            )
        }
        if error.kind == .closed, client.fatalError == nil, let cause = batch.connectionError {
            return .failure(
                KafkaError(
                    .closed,
                    persistence: error.persistence,
                    recovery: .recreateClient,
                    reason: "the producer was closed before there was a confirmation, and \(cause.reason)",
                    code: error.code
                )
            )
        }
        if error.kind == .fatal || error.kind == .closed, let fatal = client.fatalError {
            return .failure(
                KafkaError(
                    fatal.kind,
                    persistence: error.persistence,
                    recovery: .recreateClient,
                    reason: fatal.reason,
                    code: fatal.code
                )
            )
        }
        return outcome
    }

    private func handleError(_ event: borrowing RdKafkaEvent, _ batch: inout ReportBatch) {
        guard let error = event.error else { return }
        if event.isFatal {
            logger.error("Producer failed for good", metadata: ["kafka_error": "\(client.fatalError ?? error)"])
        } else {
            batch.note(error)
            // As the consumer's: a broker that is away comes back by itself, the rest has to be put right by somebody.
            logger.log(
                level: error.recovery == .retry ? .info : .warning,
                "Producer trouble, it goes on",
                metadata: ["kafka_error": "\(error)"]
            )
        }
    }

    private func serveRoomWaiters() {
        for waiter in ledger.withLock({ [clock] in $0.overdueRoomWaiters(at: clock.now) }) {
            waiter.continuation.resume(
                returning: KafkaError(
                    .timedOut,
                    persistence: .notPersisted,
                    recovery: .retry,
                    reason: "the buffer had no room for the message within \(messageTimeout)",
                    code: RD_KAFKA_RESP_ERR__QUEUE_FULL.name
                )
            )
        }
        while let waiter = ledger.withLock({ $0.nextForRoom() }) {
            let code = produce(waiter.message, to: nil, waiter.pending)
            if code == RD_KAFKA_RESP_ERR_NO_ERROR {
                ledger.withLock { $0.triedWithSuccess() }
                waiter.continuation.resume(returning: nil)
                continue
            }
            let isFull = code == RD_KAFKA_RESP_ERR__QUEUE_FULL
            switch ledger.withLock({ $0.triedInVain(waiter, isFull: isFull) }) {
            case .waitsOn: return settleBarriers()
            case .refuse(let error): waiter.continuation.resume(returning: error)
            case .tooLarge: waiter.continuation.resume(returning: tooLargeForBuffer(waiter.message))
            case nil: waiter.continuation.resume(returning: refusal(code, of: waiter.message))
            }
        }
        ledger.withLock { $0.roomServed() }
        // A flush may wait for one that was counted as in flight while it was tried.
        settleBarriers()
    }

    /// Nothing else is in the buffer, and there is still no room.
    private func tooLargeForBuffer(_ message: KafkaMessage) -> KafkaError {
        KafkaError(
            .messageTooLarge,
            persistence: .notPersisted,
            recovery: .fixRequest,
            reason: "the message of \(message.payloadCount) bytes is larger than maximumBufferedBytes",
            code: RD_KAFKA_RESP_ERR__QUEUE_FULL.name
        )
    }
}

// MARK: The end

extension ProducerCore {
    /// Milliseconds until something is due, -1 where nothing is.
    private func nextTimeout(_ batch: borrowing ReportBatch) -> Int32 {
        let room = ledger.withLock { $0.nextRoomDeadline }
        let end = closing.withLock { $0.map { $0.purgeDeadline ?? $0.deadline } }
        var next = room.map { min($0, end ?? $0) } ?? end
        if let metrics = batch.metrics { next = min(metrics.next, next ?? metrics.next) }
        guard let next else { return -1 }
        let remaining = clock.now.duration(to: next)
        return remaining <= .zero ? 0 : remaining.milliseconds
    }

    /// Takes the next step of closing, where it is due; true when the thread has nothing left to do.
    private func isFinished(_ batch: inout ReportBatch) -> Bool {
        let now = clock.now
        guard let closing = closing.withLock({ $0 }) else { return false }
        if ledger.withLock({ $0.count }) == 0 {
            finish(&batch)
            return true
        }
        guard let purgeDeadline = closing.purgeDeadline else {
            if now >= closing.deadline {
                client.purge()
                // librdkafka answers a purge at once, except for a broker thread that hangs in a name look-up.
                self.closing.withLock { $0?.purgeDeadline = now.advanced(by: .seconds(1)) }
            }
            return false
        }
        guard now >= purgeDeadline else { return false }
        finish(&batch)
        return true
    }

    private func finish(_ batch: inout ReportBatch) {
        let (abandoned, waiters, barriers) = ledger.withLock { $0.close() }
        for waiter in waiters { waiter.continuation.resume(returning: .closed()) }
        if !abandoned.isEmpty {
            logger.warning(
                "Producer closed without an answer to some sends",
                metadata: ["kafka_messages": "\(abandoned.count)"]
            )
        }
        let error = KafkaError(
            .closed,
            persistence: .possiblyPersisted,
            recovery: .recreateClient,
            reason: "the producer was closed before the broker answered"
        )
        for pending in abandoned {
            batch.metrics?.note(.failure(error))
            pending.resolve(.failure(error))
        }
        batch.metrics?.export(inFlight: 0, at: clock.now)
        for barrier in barriers { barrier.continuation.resume(returning: nil) }
    }
}
