public import Logging
public import ServiceLifecycle

/// Sends messages, and says of each where it is stored or why not.
///
/// ```swift
/// let producer = try KafkaProducer(.init(bootstrapServers: ["localhost:9092"]))
/// let report = try await producer.send(KafkaMessage(topic: "orders", key: "42", value: "three apples"))
/// print(report.partition, report.offset)
/// await producer.close()
/// ```
///
/// The producer works from the moment it is made. Give it to a `ServiceGroup` for an orderly end, use
/// ``withKafkaProducer(_:logger:_:)``, or call ``close(within:)``. A producer that is dropped without any of these goes
/// on in the background for at most ``Configuration/closeTimeout``, so that what was accepted is still sent. A process that
/// ends meanwhile may end with a signal, where connections are encrypted: `exit` takes OpenSSL apart under librdkafka's threads.
/// So close what you make.
///
/// Every send has exactly one outcome: a ``KafkaDeliveryReport``, or a ``KafkaError`` that says whether the message may
/// be stored. All methods can be called from any task at any time.
public final class KafkaProducer: Service, Destination {
    let core: ProducerCore
    private let closeTimeout: Duration

    /// Makes a producer. It connects in the background; brokers that cannot be reached show when a send fails.
    ///
    /// - Parameters:
    ///   - configuration: The settings.
    ///   - logger: Where librdkafka's and the producer's log lines go: nothing above `info` in normal use.
    /// - Throws: ``KafkaError`` of kind `invalidConfiguration`, naming the setting.
    public init(
        _ configuration: Configuration,
        logger: Logger = Logger(label: "KafkaDelivery")
    ) throws(KafkaError) {
        guard configuration.closeTimeout >= .zero else {
            throw .invalidConfiguration("closeTimeout is \(configuration.closeTimeout), less than zero")
        }
        self.core = try ProducerCore(configuration, logger: logger)
        self.closeTimeout = configuration.closeTimeout
    }

    deinit {
        core.beginClosing(within: closeTimeout)
    }

    /// Advanced: the producer's own thread, for a task that does little but send.
    ///
    /// Reports arrive on this thread. A task that awaits one elsewhere is woken on another thread, which costs more than
    /// sending; a task that prefers this executor goes on where the report is, as a loop in C would. That is what it gains; what
    /// it loses is below, and <doc:Performance> compares the two.
    ///
    /// ```swift
    /// try await withTaskExecutorPreference(producer.taskExecutor) {
    ///     for message in messages { try await producer.send(message) }
    /// }
    /// ```
    ///
    /// The tasks that prefer it share the one thread, and it reads reports whenever they wait: as on any executor, what
    /// computes for long keeps the others waiting, here the reports of all tasks too, and what blocks stops the producer. They run
    /// in the order in which they are ready, whatever their priority. A producer that is closed has no thread any more; the tasks
    /// go on on Swift's pool.
    public var taskExecutor: any TaskExecutor { core.executor }

    /// Sends a message and waits until it is confirmed.
    ///
    /// A full buffer makes the call wait for room. Retries happen inside, for at most ``Configuration/messageTimeout``.
    ///
    /// Messages that are sent to a partition at the same time travel together, and a broker refuses them together, also where
    /// one is at fault: unless it is known to be this one, the error has the kind ``KafkaError/Kind/batchRefused`` and the
    /// recovery ``KafkaError/Recovery/retry``. Sent again, the message is stored after what was sent since.
    ///
    /// - Returns: Where the message is stored.
    /// - Throws: ``KafkaError``. A task that is cancelled gets `.cancelled` at once: with `notPersisted` where the
    ///   message had not been handed over, otherwise with `possiblyPersisted`, for it cannot be recalled.
    @discardableResult
    public func send(_ message: KafkaMessage) async throws(KafkaError) -> KafkaDeliveryReport {
        if let pending = try core.enqueueNow(message) { return try await pending.onlyReport() }
        return try await core.enqueueWithSpace(message).onlyReport()
    }

    /// Accepts a message for sending, and returns without waiting for the broker.
    ///
    /// The order in which one task enqueues is the order of the messages in their partition. The call waits only where
    /// the buffer is full.
    ///
    /// - Returns: The send that is under way, whose report can be awaited later.
    /// - Throws: ``KafkaError`` with `notPersisted`: the message was not accepted.
    @inlinable
    public func enqueue(_ message: KafkaMessage) async throws(KafkaError) -> PendingDelivery {
        if let pending = try enqueueNow(message) { return pending }
        return try await enqueueWithSpace(message)
    }

    @usableFromInline
    func enqueueNow(_ message: KafkaMessage) throws(KafkaError) -> PendingDelivery? {
        try core.enqueueNow(message)
    }

    @usableFromInline
    func enqueueWithSpace(_ message: KafkaMessage) async throws(KafkaError) -> PendingDelivery {
        try await core.enqueueWithSpace(message)
    }

    /// Sends many messages, in order, and waits once for all of them: the cheapest way to send.
    ///
    /// An array is read in place; of another sequence a thousand messages are read at a time. Where the buffer is full the
    /// call waits for room, and where the task is cancelled, what was handed over is sent all the same.
    ///
    /// - Returns: For each message, in the order given, where it is stored or why not. One failure does not keep the
    ///   others from being sent.
    public func send(
        contentsOf messages: some Sequence<KafkaMessage>
    ) async -> [Result<KafkaDeliveryReport, KafkaError>] {
        var sends = BatchOfSends(core)
        await sends.send(messages)
        return await sends.results()
    }

    /// Waits until every message accepted so far has its outcome, and sends at once what lingers.
    ///
    /// - Throws: ``KafkaError`` of kind `cancelled` where the task is cancelled. How the sends ended is theirs to say.
    public func flush() async throws(KafkaError) {
        try await core.flush()
    }

    /// Refuses new messages, waits for those under way, and ends.
    ///
    /// When the time is over what is left gets its outcome at once: `notPersisted` where it had not been sent,
    /// otherwise `possiblyPersisted`. Ends by the deadline and a second, whatever the brokers do. Closing again, or from
    /// several tasks, is allowed; the earliest deadline counts.
    ///
    /// Within that time librdkafka's threads have ended too, and the process may; but for one that hangs in a name look-up,
    /// which is not waited for any longer.
    ///
    /// - Parameter timeout: How long to wait for what is under way; zero does not wait.
    /// - Returns: What became of it.
    @discardableResult
    public func close(within timeout: Duration = .seconds(30)) async -> KafkaCloseSummary {
        await core.close(within: timeout)
    }

    /// Waits for the service group to shut down, then closes within ``Configuration/closeTimeout``.
    ///
    /// The producer sends whether this runs or not. Cancelling the task that runs it closes the producer without
    /// waiting: every send that is still under way gets its outcome at once.
    public func run() async throws {
        do {
            try await gracefulShutdown()
        } catch {
            await core.close(within: .zero)
            throw error
        }
        await core.close(within: closeTimeout)
    }
}

/// A producer for the length of a scope: closed when `body` ends, however it does.
///
/// ```swift
/// try await withKafkaProducer(.init(bootstrapServers: ["localhost:9092"])) { producer in
///     try await producer.send(KafkaMessage(topic: "orders", value: "three apples"))
/// }
/// ```
///
/// - Parameters:
///   - configuration: The settings; the end waits at most ``KafkaProducer/Configuration/closeTimeout``.
///   - logger: Where log lines go.
///   - body: What to do with the producer.
/// - Returns: What `body` returns.
/// - Throws: ``KafkaError`` of kind `invalidConfiguration`, and what `body` throws.
@discardableResult
public func withKafkaProducer<Result>(
    _ configuration: KafkaProducer.Configuration,
    logger: Logger = Logger(label: "KafkaDelivery"),
    _ body: (KafkaProducer) async throws -> sending Result
) async throws -> sending Result {
    let producer = try KafkaProducer(configuration, logger: logger)
    return try await withClient(producer, body) { _ = await $0.close(within: configuration.closeTimeout) }
}
