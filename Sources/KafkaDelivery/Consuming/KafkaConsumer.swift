public import Logging
public import ServiceLifecycle

/// Receives a group's messages, and commits nothing that was not acknowledged.
///
/// ```swift
/// let consumer = try KafkaConsumer(
///     .init(bootstrapServers: ["localhost:9092"], group: "billing", topics: ["orders"])
/// )
/// for try await delivery in consumer.deliveries {
///     try await charge(delivery.value)
///     delivery.acknowledge()
/// }
/// ```
///
/// The consumer joins its group when the first loop over ``deliveries`` or ``partitions`` begins. Leaving a loop neither
/// closes the consumer nor loses anything: the next loop goes on where it was. Give the consumer to a `ServiceGroup`
/// for an orderly end, use ``withKafkaConsumer(_:logger:_:)``, or call ``close(within:)``.
public final class KafkaConsumer: Service, Sendable {
    let core: ConsumerCore

    /// Makes a consumer. It connects in the background, and joins its group when a loop begins.
    ///
    /// - Parameters:
    ///   - configuration: The settings.
    ///   - logger: Where librdkafka's and the consumer's log lines go: nothing above `info` in normal use.
    /// - Throws: ``KafkaError`` of kind `invalidConfiguration`, naming the setting.
    public init(
        _ configuration: Configuration,
        logger: Logger = Logger(label: "KafkaDelivery")
    ) throws(KafkaError) {
        self.core = try Self.core(configuration, logger)
    }

    /// A consumer whose back-off a test advances.
    init(_ configuration: Configuration, logger: Logger, backoff: any BackoffClock) throws(KafkaError) {
        self.core = try Self.core(configuration, logger, backoff: backoff)
    }

    /// A consumer whose acknowledgements are committed by its caller.
    init(
        committedElsewhere configuration: Configuration,
        logger: Logger
    ) throws(KafkaError) {
        self.core = try Self.core(configuration, logger, commits: false)
    }

    /// Whether the application says where partitions begin (``Configuration/startingOffset``).
    package var asksForStartingOffsets: Bool { core.configuration.startingOffset != nil }

    deinit {
        core.beginClosing(within: core.configuration.closeTimeout)
    }

    /// The deliveries of all assigned partitions, in order within each partition.
    ///
    /// The loop ends when the consumer is closed, the task is cancelled, or the service of a `ServiceGroup` that runs it is shut
    /// down, and throws ``KafkaError`` where the consumer cannot go on.
    ///
    /// Several loops may run at the same time: each delivery goes to one of them. While one is busy with a delivery, another
    /// gets the next, also of the same partition: what is in order then is the handing out. A loop that was left keeps nothing
    /// from the others, whether its iterator was destroyed or not.
    public var deliveries: Deliveries {
        Deliveries(core: core)
    }

    /// The partitions as they are assigned, each a sequence of its deliveries that ends when the partition is revoked.
    ///
    /// ```swift
    /// try await withThrowingDiscardingTaskGroup { group in
    ///     for try await partition in consumer.partitions {
    ///         group.addTask {
    ///             for try await delivery in partition { … }
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// The loop ends when the consumer is closed, the task is cancelled, or the service of a `ServiceGroup` that runs it is shut
    /// down; the loops over the partitions that it was given end with it.
    ///
    /// A partition goes to one of several such loops. Use either this or ``deliveries``, not both at a time: a delivery goes to
    /// the loop that asks first.
    public var partitions: Partitions {
        Partitions(core: core)
    }

    /// What happens to the consumer, from now on.
    public var events: Events {
        core.events.listen()
    }

    /// Waits until everything acknowledged so far in the partitions that are ours is committed, as far as it can be: an
    /// acknowledged delivery behind an unsettled one cannot. What was acknowledged in partitions that went away before,
    /// ``Event/revoked(_:unsettled:)`` and ``Event/lost(_:unsettled:)`` tell. Partitions with deliveries in a transaction that
    /// has not ended are left to that.
    ///
    /// - Throws: ``KafkaError``: `invalidArgument` where there is no group to commit for, `assignmentEnded` where a partition goes to another member meanwhile, `timedOut` after 30
    ///   seconds, `cancelled`, `closed`, or what the broker says.
    public func commit() async throws(KafkaError) {
        if let error = await core.commit() { throw error }
    }

    /// Hands out nothing more, waits for the deliveries in hand, commits what was acknowledged, and leaves the group.
    ///
    /// A delivery that the application holds no longer is not waited for. Ends by the deadline, whatever the brokers do. Closing
    /// again, or from several tasks, is allowed; the earliest deadline counts.
    ///
    /// Within that time librdkafka's threads have ended too, and the process may, where the consumer has left its group and the
    /// application holds no delivery any longer. Deliveries keep the client: closing does not wait for these, and its threads
    /// end when the last one is let go of.
    ///
    /// Called by a handler of ``forEach(concurrency:retry:retryTopics:deadLetters:deduplicating:_:)``, of ``forEachBatch(maximumCount:maximumWait:retry:retryTopics:deadLetters:deduplicating:_:)``
    /// or of `transform`, it begins all of that and returns at once, with an empty summary: the delivery that the handler has
    /// in hand is waited for, too, and would wait for this. `forEach` then ends with what is in hand, and closing again after
    /// it waits for the commit. In a loop of your own, give the delivery in hand its verdict before you close: without one
    /// it is waited for until the time is nearly over.
    ///
    /// - Parameter timeout: How long all of that may take together.
    /// - Returns: How it ended.
    @discardableResult
    public func close(within timeout: Duration = .seconds(30)) async -> KafkaCloseSummary {
        guard HandlerTask.isHandler(of: core) else { return await core.close(within: timeout) }
        core.beginClosing(within: timeout)
        // The consumer's thread does that, too, but perhaps only after the handler has been given more.
        for reader in core.assigned.values { reader.stop() }
        return KafkaCloseSummary()
    }

    /// Waits for the service group to shut down, then closes within ``Configuration/closeTimeout``.
    ///
    /// Put the consumer before the services that read from it: then these are shut down first, their loops end with what is in
    /// hand, and the consumer commits that. In another order their loops end when the consumer is closed.
    ///
    /// The consumer works whether this runs or not. Cancelling the task that runs it closes the consumer within two seconds.
    public func run() async throws {
        do {
            try await gracefulShutdown()
        } catch {
            // Time to commit what was acknowledged and to say good-bye.
            await core.close(within: min(.seconds(2), core.configuration.closeTimeout))
            throw error
        }
        await core.close(within: core.configuration.closeTimeout)
    }
}

/// A consumer for the length of a scope: closed when `body` ends, however it does.
///
/// - Parameters:
///   - configuration: The settings; the end takes at most ``KafkaConsumer/Configuration/closeTimeout``.
///   - logger: Where log lines go.
///   - body: What to do with the consumer.
/// - Returns: What `body` returns.
/// - Throws: ``KafkaError`` of kind `invalidConfiguration`, and what `body` throws.
@discardableResult
public func withKafkaConsumer<Result>(
    _ configuration: KafkaConsumer.Configuration,
    logger: Logger = Logger(label: "KafkaDelivery"),
    _ body: (KafkaConsumer) async throws -> sending Result
) async throws -> sending Result {
    let consumer = try KafkaConsumer(configuration, logger: logger)
    return try await withClient(consumer, body) { _ = await $0.close(within: configuration.closeTimeout) }
}
