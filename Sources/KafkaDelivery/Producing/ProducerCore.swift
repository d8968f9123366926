internal import Logging
internal import Synchronization

/// What a producer is made of: senders put their messages into the ``SendPath`` and call librdkafka; a thread of its own
/// (``ProducerThread``) reads reports and resumes senders; what has to wait for something else is in the ``SendWaitQueue``.
///
/// A send that finds space takes no lock of ours but, once in 64 times, the path's. The path's lock may be taken under the wait
/// queue's.
final class ProducerCore: Sendable {
    typealias PendingDelivery = KafkaProducer.PendingDelivery

    private let openClient: OpenClient
    /// The same client, for senders that have a slot of the path: the thread lets go of it when each of them has returned.
    private let clientOfSenders: Unmanaged<RdKafkaClient>
    /// Keeps the topics that ``lastTopic`` is one of.
    private let topics: RdKafkaTopics
    private let unknownPartitions = UnknownPartitions()
    let queue: ReportQueue
    let executor: ProducerExecutor
    let logger: Logger
    let messageTimeout: Duration
    private let lingers: Bool
    let stampsIdempotencyKey: Bool
    let configuration: KafkaProducer.Configuration
    let path = SendPath()
    let waitQueue = SharedSendWaitQueue()
    private let lingerFlush = LingerFlush()
    /// Where the last message went: the next one goes there too, more often than not, and no dictionary is searched.
    private let lastTopic = Atomic<Unmanaged<RdKafkaTopic>?>(nil)

    /// - Parameter properties: What the client is made with, where it is more than the configuration says.
    init(
        _ configuration: KafkaProducer.Configuration,
        properties: RdKafkaConfiguration? = nil,
        logger: Logger
    ) throws(KafkaError) {
        let given: RdKafkaConfiguration
        if let properties { given = properties } else { given = try configuration.rdKafka() }
        let client = try given.makeProducer()
        self.openClient = OpenClient(client)
        self.clientOfSenders = .passUnretained(client)
        self.topics = client.topics
        guard let queue = ReportQueue(client) else {
            throw KafkaError(.client, recovery: .retry, reason: "librdkafka gave no queue for delivery reports")
        }
        self.queue = queue
        self.executor = ProducerExecutor(queue)
        self.logger = logger
        self.messageTimeout = configuration.messageTimeout
        self.lingers = configuration.linger > .zero
        self.stampsIdempotencyKey = configuration.stampsIdempotencyKey
        self.configuration = configuration
        let reports = ReportReader(
            metrics: ProducerMetrics(
                clientID: configuration.clientID,
                factory: configuration.metricsFactory,
                interval: configuration.metricsInterval
            ),
            logger: logger,
            messageTimeout: messageTimeout,
            client: clientOfSenders
        )
        let isStarted = BlockingThread.start("kafka-producer") {
            var thread = ProducerThread(self, reports)
            thread.run()
        }
        guard isStarted else {
            throw KafkaError(.client, recovery: .retry, reason: "the system has no thread left for the producer")
        }
        // A transactional producer asks its coordinator, and is waited for.
        if properties == nil, configuration.idempotence { client.hastenProducerID() }
    }

    /// The client; nil when the producer is closed.
    var client: RdKafkaClient? { openClient.client }

    /// The error that the client cannot recover from, where there was one and it is not closed.
    var fatalError: KafkaError? { client?.fatalError }

    /// The end of the client, also of one that is closed.
    var clientEnd: ClientEnd { openClient.end }

    /// Lets the client be destroyed, at the end of the producer's thread.
    func letGoOfClient() {
        // A sender's report may be read before the call has returned in which it handed its message over. Nothing says when it
        // has: a sender, on the way of every message, only counts.
        while !path.haveAllReturned { RdKafkaClient.pause(milliseconds: 1) }
        queue.end()
        openClient.letGo()
    }
}

// MARK: Sending

extension ProducerCore {
    func enqueue(_ message: KafkaMessage) async throws(KafkaError) -> PendingDelivery {
        if let pending = try enqueueNow(message) { return pending }
        return try await enqueueWithSpace(message)
    }

    /// Hands a message to librdkafka when there is space for it.
    ///
    /// - Parameter batch: Told of its outcome, where it is one of many.
    func enqueueWithSpace(
        _ message: KafkaMessage,
        _ batch: PendingBatch? = nil
    ) async throws(KafkaError) -> PendingDelivery {
        // One of many comes here without having been looked at where others wait already.
        try message.validate()
        // With a key of its own: the one that librdkafka had no room for was never sent.
        let message = stampsIdempotencyKey ? message.stampedWithIdempotencyKey() : message
        var deadline: ContinuousClock.Instant?
        while true {
            let block = SendBlock(capacity: 1, batch)
            guard let error = await waitForSpace(message, block) else {
                return PendingDelivery(block, block.promise(0), topic: message.topic)
            }
            guard error.kind == .unknownTopicOrPartition, let client else { throw error }
            let until = deadline ?? UnknownPartitions.deadline(messageTimeout)
            let isFirst = deadline == nil
            deadline = until
            guard isFirst || .now < until,
                await unknownPartitions.isThere(message.topic, message.partition, client, until: until)
            else { throw error }
        }
    }

    /// Hands a message to librdkafka where there is space; nil where there is none. Not async, so that a send pays for the
    /// waiting alone.
    func enqueueNow(_ message: KafkaMessage) throws(KafkaError) -> PendingDelivery? {
        if stampsIdempotencyKey { return try enqueueAsIs(message.stampedWithIdempotencyKey()) }
        return try enqueueAsIs(message)
    }

    private func enqueueAsIs(_ message: KafkaMessage) throws(KafkaError) -> PendingDelivery? {
        let topic = try validTopic(of: message)
        if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
        // Others wait for space already, and come first.
        if waitQueue.hasSpaceWaiters { return nil }
        // Before librdkafka has it: then the thread finds it when it reads its report.
        guard let slot = path.takeSlot() else { throw .closed() }
        let code = produce(message, to: topic, slot.promise.opaque)
        // One that closing gave up meanwhile has its outcome.
        if code == .success || !slot.promise.discard() {
            path.noteReturn()
            return PendingDelivery(slot.block, slot.promise, topic: message.topic)
        }
        let isLookedFor = waitQueue.withLock { $0.refuse(slot.block) }
        path.noteReturn()
        if isLookedFor { queue.interrupt() }
        // What librdkafka does not know may be there all the same: that is found out where there is time to wait.
        guard code == .queueFull || code.isUnknownTopicOrPartition else { throw refusal(code, of: message) }
        return nil
    }

    /// Refuses a message that librdkafka would misunderstand, and returns its topic's handle, where it was used last.
    func validTopic(of message: KafkaMessage) throws(KafkaError) -> Unmanaged<RdKafkaTopic>? {
        let last = lastTopic.load(ordering: .acquiring)
        guard let last, last._withUnsafeGuaranteedRef({ $0.name == message.topic }) else {
            try message.validate()
            return nil
        }
        try message.validateBesidesTopic()
        return last
    }

    /// A topic's handle, for the next message too; nil where librdkafka gives none, and then says why. For who may call
    /// librdkafka, as in ``produce(_:to:_:)``.
    func lookUpTopic(_ name: String) -> Unmanaged<RdKafkaTopic>? {
        let topic = clientOfSenders._withUnsafeGuaranteedRef { $0.topic(name) }.map { Unmanaged.passUnretained($0) }
        lastTopic.store(topic, ordering: .releasing)
        return topic
    }

    /// Hands a message to librdkafka, with a topic's handle that is looked up where there is none. For senders that have a slot
    /// and have not noted their return, and for the producer's thread.
    ///
    /// - Parameter opaque: Of its slot.
    func produce(
        _ message: KafkaMessage,
        to topic: Unmanaged<RdKafkaTopic>?,
        _ opaque: UnsafeMutableRawPointer
    ) -> RdKafkaCode {
        guard let topic = topic ?? lookUpTopic(message.topic) else { return .last }
        return topic._withUnsafeGuaranteedRef { topic in
            clientOfSenders._withUnsafeGuaranteedRef { $0.produce(message, to: topic, opaque: opaque) }
        }
    }

    /// Waits until the thread has handed the message to librdkafka, or could not.
    private func waitForSpace(_ message: KafkaMessage, _ block: SendBlock) async -> KafkaError? {
        let deadline = Moment.now.advanced(by: messageTimeout.asTimeout)
        return await waitCancellably { id, continuation in
            let waiter = SendWaitQueue.BufferSpaceWaiter(
                id: id,
                message: message,
                block: block,
                deadline: deadline,
                continuation: continuation
            )
            switch waitQueue.withLock({ $0.wait(waiter) }) {
            case .none: break
            case .interrupt: queue.interrupt()
            case .refuse(let error): continuation.resume(returning: error)
            }
        } onCancel: { id in
            cancelWait(id)
        }
    }

    private func cancelWait(_ id: UInt64) {
        let waiter = waitQueue.withLock { $0.cancelBufferSpaceWaiter(id) }
        waiter?.continuation.resume(returning: .cancelled(persistence: .notPersisted))
    }

    /// Refuses senders that wait for space or would have to, until ``admitSpaceWaiters()``.
    func refuseSpaceWaiters(_ error: KafkaError) {
        let waiters = waitQueue.withLock { $0.takeSpaceWaiters(refusing: error) }
        for waiter in waiters { waiter.continuation.resume(returning: error) }
    }

    func admitSpaceWaiters() {
        waitQueue.withLock { $0.admitSpaceWaiters() }
    }

    /// The error of a message that librdkafka did not take.
    func refusal(_ code: RdKafkaCode, of message: KafkaMessage) -> KafkaError {
        if code.isFatal, let fatal = fatalError {
            return KafkaError(
                fatal.kind,
                persistence: .notPersisted,
                recovery: .recreateClient,
                reason: fatal.reason,
                code: fatal.code
            )
        }
        let target = message.partition.map { "\(message.topic) [\($0)]" } ?? message.topic
        return KafkaError(code, reason: "\(target): \(code.text)", persistence: .notPersisted)
    }
}

// MARK: Waiting until everything has its outcome, and closing

extension ProducerCore {
    func flush() async throws(KafkaError) {
        if let error = await wait(forTheEnd: false) { throw error }
    }

    /// Waits until every message accepted so far has its outcome, but no longer than until some time.
    ///
    /// - Returns: Whether they have. A cancelled task waits no longer: true where they had before that was seen.
    func flush(until deadline: ContinuousClock.Instant) async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask { (try? await self.flush()) != nil }
            group.addTask {
                // Time is what is waited for: a broker that does not answer gives no sign.
                try? await Task.sleep(until: deadline, clock: .continuous)
                return false
            }
            let isFlushed = await group.next() ?? false
            group.cancelAll()
            // What was confirmed in time is the other's result, though its task got its turn later.
            return isFlushed ? true : await group.next() ?? false
        }
    }

    /// Sends at once what lingers, for as long as a task waits for it.
    private func sendLingering() {
        guard lingers else { return }
        lingerFlush.begin { [self] in
            waitQueue.withLock { $0.isAwaited }
        } flush: { [self] slice in
            client?.flush(within: slice) ?? true
        }
    }

    /// Begins to close, or brings an earlier deadline forward, and waits for the end.
    ///
    /// - Parameter patience: How long it may take beyond that until librdkafka's threads have ended.
    @discardableResult
    func close(within timeout: Duration, patience: Duration = .seconds(1)) async -> KafkaCloseSummary {
        let deadline = ContinuousClock.now.advanced(by: timeout.asTimeout + patience)
        beginClosing(within: timeout)
        // Closing is not cut short by cancellation: it ends by its deadline, and the sends need their outcomes.
        _ = await wait(forTheEnd: true)
        await clientEnd.waitAfterClosing(until: deadline)
        return waitQueue.withLock { $0.summary }
    }

    func beginClosing(within timeout: Duration) {
        let deadline = Moment.now.advanced(by: timeout.asTimeout)
        // First the path: where the thread sees that the wait queue is closing, nothing new is accepted any more.
        path.close()
        for waiter in waitQueue.withLock({ $0.beginClosing(by: deadline) }) {
            waiter.continuation.resume(returning: .closed())
        }
        sendLingering()
        queue.interrupt()
    }

    /// Waits until everything accepted before has its outcome, or until the producer is closed.
    ///
    /// - Parameter isForTheEnd: Whether to wait for the latter, and not to be cancelled.
    private func wait(forTheEnd isForTheEnd: Bool) async -> KafkaError? {
        await waitCancellably { id, continuation in
            let waiter = SendWaitQueue.FlushWaiter(id: id, isForTheEnd: isForTheEnd, continuation: continuation)
            guard waitQueue.withLock({ $0.add(waiter) }) else { return continuation.resume(returning: nil) }
            sendLingering()
            // The thread knows which sends there are.
            queue.interrupt()
        } onCancel: { id in
            if !isForTheEnd { cancelFlushWaiter(id) }
        }
    }

    private func cancelFlushWaiter(_ id: UInt64) {
        let waiter = waitQueue.withLock { $0.cancelFlushWaiter(id) }
        waiter?.continuation.resume(returning: .cancelled(persistence: nil))
    }
}

extension KafkaMessage {
    /// Refuses what librdkafka would misunderstand rather than refuse.
    func validate() throws(KafkaError) {
        if let fault = TopicName.fault(of: topic) { throw .invalidArgument(fault) }
        try validateBesidesTopic()
    }

    /// The same for a topic that is known to be good.
    func validateBesidesTopic() throws(KafkaError) {
        if let partition, !(0...Int(Int32.max)).contains(partition) {
            throw .invalidArgument("\(topic): \(partition) cannot be a partition; nil lets the key decide")
        }
        if let timestamp, timestamp.millisecondsSince1970 < 1 {
            // librdkafka takes 0 for "now".
            throw .invalidArgument("\(topic): a timestamp has to be after 1970-01-01T00:00:00Z; nil means now")
        }
        // Where there are none this is all that it costs.
        for header in headers where header.name.hasZeroByte {
            // Those who read it in C would see less of it.
            throw .invalidArgument(
                "\(topic): the header's name \"\(header.name.replacing("\0", with: "␀"))\" has a zero byte"
            )
        }
    }
}

extension String {
    /// Whether C would see less of it. By a loop over its memory, which takes a fraction of one over its UTF-8 view.
    fileprivate var hasZeroByte: Bool { utf8.withContiguousStorageIfAvailable { $0.contains(0) } ?? utf8.contains(0) }
}
