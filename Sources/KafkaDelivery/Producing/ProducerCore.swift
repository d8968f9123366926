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
    let queue: RdKafkaQueue
    let logger: Logger
    let messageTimeout: Duration
    let lingers: Bool
    private let stampsIdempotencyKey: Bool
    let configuration: KafkaProducer.Configuration
    // Senders, the thread and whoever closes meet here; nobody holds it for longer than a few list operations.
    let ledger = Mutex(SendLedger())
    let closing = Mutex<Closing?>(nil)
    // Up to where lingering messages are being flushed; nil where nobody does. Taken before the ledger's lock.
    let flushTarget = Mutex<UInt64?>(nil)
    let clock = ContinuousClock()

    struct Closing {
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
    func produce(
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
    func refusal(_ code: rd_kafka_resp_err_t, of message: KafkaMessage) -> KafkaError {
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
