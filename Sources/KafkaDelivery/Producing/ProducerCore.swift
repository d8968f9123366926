internal import CRdKafka
internal import DequeModule
internal import Logging
internal import Synchronization

/// The shell around ``SendLedger``: calls librdkafka, waits for its reports on a thread of its own, resumes senders.
///
/// Lock order: the ledger's lock is taken first or alone; a pending delivery's lock is never taken under it; librdkafka
/// is never called under either.
final class ProducerCore: Sendable {
    typealias PendingDelivery = KafkaProducer.PendingDelivery

    let client: RdKafkaClient
    private let queue: RdKafkaQueue
    private let logger: Logger
    private let messageTimeout: Duration
    private let lingers: Bool
    private let stampsIdempotencyKey: Bool
    private let configuration: KafkaProducer.Configuration
    // Senders, the thread and whoever closes meet here; nobody holds it for longer than a few list operations.
    private let ledger = Mutex(SendLedger())
    private let closing = Mutex<Closing?>(nil)
    // Up to where lingering messages are being flushed; nil where nobody does. Taken before the ledger's lock.
    private let flushTarget = Mutex<UInt64?>(nil)
    private let clock = ContinuousClock()

    private struct Closing {
        var deadline: ContinuousClock.Instant
        /// Set when the rest was given up; reports of it are due at once, and not waited for longer than this.
        var purgeDeadline: ContinuousClock.Instant?
    }

    /// - Parameter properties: What the client is made with, where it is more than the configuration says.
    init(
        _ configuration: KafkaProducer.Configuration,
        properties: RdKafkaConfiguration? = nil,
        logger: Logger
    ) throws(KafkaError) {
        let given: RdKafkaConfiguration
        if let properties { given = properties } else { given = try configuration.rdKafka() }
        self.client = try given.makeClient(RD_KAFKA_PRODUCER, events: RD_KAFKA_EVENT_DR)
        guard let queue = RdKafkaQueue.main(of: client) else {
            throw KafkaError(.client, recovery: .retry, reason: "librdkafka gave no queue for delivery reports")
        }
        self.queue = queue
        self.logger = logger
        self.messageTimeout = configuration.messageTimeout
        self.lingers = configuration.linger > .zero
        self.stampsIdempotencyKey = configuration.stampsIdempotencyKey
        self.configuration = configuration
        guard BlockingThread.start("kafka-producer", { self.serveQueue() }) else {
            throw KafkaError(.client, recovery: .retry, reason: "the system has no thread left for the producer")
        }
    }

    deinit {
        ledger.withLock { $0.removeAll() }
    }
}

// MARK: Sending

extension ProducerCore {
    func enqueue(_ message: KafkaMessage) async throws(KafkaError) -> PendingDelivery {
        if let pending = try enqueueNow(message) { return pending }
        return try await enqueueWithRoom(message)
    }

    /// Hands a message to librdkafka when there is room for it.
    func enqueueWithRoom(_ message: KafkaMessage) async throws(KafkaError) -> PendingDelivery {
        // With a key of its own: the one that librdkafka had no room for was never sent.
        let message = stampsIdempotencyKey ? message.stampedWithIdempotencyKey() : message
        let pending = PendingDelivery(topic: message.topic)
        if let error = await waitForRoom(message, pending) { throw error }
        return pending
    }

    /// Hands a message to librdkafka where there is room; nil where there is none. Not async, so that a send pays for the
    /// waiting alone.
    func enqueueNow(_ message: KafkaMessage) throws(KafkaError) -> PendingDelivery? {
        try message.validate()
        if stampsIdempotencyKey { return try enqueueAsIs(message.stampedWithIdempotencyKey()) }
        return try enqueueAsIs(message)
    }

    private func enqueueAsIs(_ message: KafkaMessage) throws(KafkaError) -> PendingDelivery? {
        if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
        let pending = PendingDelivery(topic: message.topic)
        switch ledger.withLock({ $0.admit(pending) }) {
        case .accepted(let topic):
            let code = produce(message, to: topic, pending)
            if code == RD_KAFKA_RESP_ERR_NO_ERROR { return pending }
            if ledger.withLock({ $0.refuse(pending) }) { queue.interrupt() }
            settleBarriers()
            guard code == RD_KAFKA_RESP_ERR__QUEUE_FULL else { throw refusal(code, of: message) }
            return nil
        case .wait:
            return nil
        case .refused(let error):
            throw error
        }
    }

    /// The topic's handle is the one that was used last, or looked up.
    private func produce(
        _ message: KafkaMessage,
        to topic: RdKafkaTopic?,
        _ pending: PendingDelivery
    ) -> rd_kafka_resp_err_t {
        guard let known = topic ?? client.topic(message.topic) else { return rd_kafka_last_error() }
        if topic == nil { ledger.withLock { $0.lastTopic = known } }
        return client.produce(message, to: known, opaque: Unmanaged.passUnretained(pending).toOpaque())
    }

    /// Waits until the thread has handed the message to librdkafka, or could not.
    private func waitForRoom(_ message: KafkaMessage, _ pending: PendingDelivery) async -> KafkaError? {
        let id = WaiterID.next()
        let deadline = clock.now.advanced(by: messageTimeout.asTimeout)
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let waiter = SendLedger.RoomWaiter(
                    id: id,
                    message: message,
                    pending: pending,
                    deadline: deadline,
                    continuation: continuation
                )
                switch ledger.withLock({ $0.wait(waiter) }) {
                case .none: break
                case .interrupt: queue.interrupt()
                case .refuse(let error): continuation.resume(returning: error)
                }
                // Cancelled before the waiter was there: its handler has run already and found nobody.
                if Task.isCancelled { cancelWait(id) }
            }
        } onCancel: {
            cancelWait(id)
        }
    }

    private func cancelWait(_ id: UInt64) {
        let waiter = ledger.withLock { $0.cancelRoomWaiter(id) }
        waiter?.continuation.resume(returning: .cancelled(persistence: .notPersisted))
    }

    /// Refuses whoever waits for room at this moment.
    func refuseRoomWaiters(_ error: KafkaError) {
        for waiter in ledger.withLock({ $0.takeRoomWaiters() }) { waiter.continuation.resume(returning: error) }
    }

    /// The error of a message that librdkafka did not take.
    private func refusal(_ code: rd_kafka_resp_err_t, of message: KafkaMessage) -> KafkaError {
        if code == RD_KAFKA_RESP_ERR__FATAL || code == RD_KAFKA_RESP_ERR__FENCED, let fatal = client.fatalError {
            return KafkaError(
                fatal.kind,
                persistence: .notPersisted,
                recovery: .recreateClient,
                reason: fatal.reason,
                code: fatal.code
            )
        }
        let place = message.partition.map { "\(message.topic) [\($0)]" } ?? message.topic
        return KafkaError(code, reason: "\(place): \(code.text)", persistence: .notPersisted)
    }
}

// MARK: Waiting for all

extension ProducerCore {
    func flush() async throws(KafkaError) {
        if lingers { sendLingering() }
        let error = await waitForBarrier { $0.lastSequence }
        if let error { throw error }
    }

    /// Waits until every message accepted so far has its outcome, but no longer than until some time.
    ///
    /// - Returns: Whether they have; not where the task was cancelled either.
    func flush(until deadline: ContinuousClock.Instant) async -> Bool {
        if ledger.withLock({ $0.count == 0 }) { return true }
        return await withTaskGroup(of: Bool.self) { group in
            group.addTask { (try? await self.flush()) != nil }
            group.addTask {
                // Time is what is waited for.
                try? await Task.sleep(until: deadline, clock: .continuous)
                return false
            }
            defer { group.cancelAll() }
            return await group.next() ?? false
        }
    }

    /// Sends at once what lingers. Where the system has no thread for it, it is sent when its time has come.
    ///
    /// `rd_kafka_flush` waits until nothing is in flight, which on a busy producer may be never; so one thread does it,
    /// in short turns, until what was in flight when it was last asked for has been sent.
    private func sendLingering() {
        let target = ledger.withLock { $0.lastSequence }
        let isRunning = flushTarget.withLock { current in
            defer { current = max(target, current ?? 0) }
            return current != nil
        }
        guard !isRunning else { return }
        let isStarted = BlockingThread.start("kafka-flush") { [self] in
            while isLingering() { client.flush(within: .milliseconds(50)) }
        }
        if !isStarted { flushTarget.withLock { $0 = nil } }
    }

    /// Whether something that is to be flushed is still in flight.
    private func isLingering() -> Bool {
        flushTarget.withLock { target in
            let isOver = ledger.withLock { $0.phase == .closed || $0.isPast(target ?? 0) }
            if isOver { target = nil }
            return !isOver
        }
    }

    /// Begins to close, or brings an earlier deadline forward, and waits for the end.
    @discardableResult
    func close(within timeout: Duration) async -> KafkaProducer.CloseSummary {
        beginClosing(within: timeout)
        // Closing is not cut short by cancellation: it ends by its deadline, and the sends need their outcomes.
        while ledger.withLock({ $0.phase }) != .closed {
            _ = await waitForBarrier(isCancellable: false) { _ in .max }
        }
        return ledger.withLock { $0.summary }
    }

    func beginClosing(within timeout: Duration) {
        let deadline = clock.now.advanced(by: timeout.asTimeout)
        // First the ledger: where the thread sees the deadline, nothing new is admitted any more.
        for waiter in ledger.withLock({ $0.beginClosing() }) {
            waiter.continuation.resume(returning: .closed())
        }
        closing.withLock { closing in
            closing = Closing(
                deadline: min(deadline, closing?.deadline ?? deadline),
                purgeDeadline: closing?.purgeDeadline
            )
        }
        if lingers { sendLingering() }
        queue.interrupt()
    }

    private func waitForBarrier(
        isCancellable: Bool = true,
        upTo sequence: @Sendable (borrowing SendLedger) -> UInt64
    ) async -> KafkaError? {
        let id = WaiterID.next()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = ledger.withLock { ledger in
                    let sequence = sequence(ledger)
                    if ledger.phase == .closed || (sequence != .max && ledger.isPast(sequence)) { return true }
                    ledger.add(SendLedger.Barrier(id: id, sequence: sequence, continuation: continuation))
                    return false
                }
                if isOver { continuation.resume(returning: nil) }
                if isCancellable, Task.isCancelled { cancelBarrier(id) }
            }
        } onCancel: {
            if isCancellable { cancelBarrier(id) }
        }
    }

    private func cancelBarrier(_ id: UInt64) {
        let barrier = ledger.withLock { $0.cancelBarrier(id) }
        barrier?.continuation.resume(returning: .cancelled(persistence: nil))
    }

    private func settleBarriers() {
        for barrier in ledger.withLock({ $0.passedBarriers() }) {
            barrier.continuation.resume(returning: nil)
        }
    }
}

// MARK: The thread

extension ProducerCore {
    /// Runs on the producer's thread until it is closed: sleeps until librdkafka has a report, or somebody interrupts.
    private func serveQueue() {
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

extension KafkaMessage {
    /// Refuses what librdkafka would misunderstand rather than refuse.
    func validate() throws(KafkaError) {
        guard !topic.isEmpty, !topic.utf8.contains(0) else {
            throw .invalidArgument("the topic's name is empty or contains a zero byte")
        }
        if let partition, !(0...Int(Int32.max)).contains(partition) {
            throw .invalidArgument("\(topic): \(partition) cannot be a partition; nil lets the key decide")
        }
        if let timestamp, timestamp.millisecondsSince1970 < 1 {
            // librdkafka takes 0 for "now".
            throw .invalidArgument("\(topic): a timestamp has to be after 1970-01-01T00:00:00Z; nil means now")
        }
    }
}
