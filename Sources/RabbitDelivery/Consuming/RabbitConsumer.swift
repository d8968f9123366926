public import Logging
public import ServiceLifecycle

/// Receives a queue's messages, and acknowledges none that the application has not.
///
/// ```swift
/// let consumer = try RabbitConsumer(.init(hosts: ["localhost:5672"], queue: "billing", topology: topology))
/// for try await delivery in consumer.deliveries {
///     try await charge(delivery.body)
///     delivery.acknowledge()
/// }
/// ```
///
/// The consumer has a connection of its own, with a thread of its own, from the first loop on: acknowledgements go through also while
/// the broker blocks connections that publish. It connects again when the connection is lost, and declares its topology again;
/// what was in hand then is delivered again by the broker, and a verdict on it changes nothing. Leaving a loop loses nothing: the
/// next loop goes on with what was not handed out. A delivery that was, and is left without a verdict (by a handler that was
/// cancelled, or whose error ended ``forEach(concurrency:retry:retryQueues:deadLetters:_:)``), keeps its place in
/// ``Configuration/prefetch`` and comes again only on another channel: after a reconnect, or to another consumer once this one is closed.
/// So close a consumer whose loop has failed. Give the consumer to a `ServiceGroup` for an orderly end, use
/// ``withRabbitConsumer(_:logger:_:)``, or call ``close(within:)``; or drop it, with the sequences it gave out.
///
/// What was sent to the consumer and not acknowledged at its end, looked at or not, goes back to its queue. A quorum queue counts
/// that as a failed delivery, and gives messages up that have more of them than `x-delivery-limit` (20 by default from RabbitMQ 4.0 on):
/// a consumer that is restarted over and over with a large prefetch can bring messages there that it never handed out.
public final class RabbitConsumer: Service, Sendable {
    let core: ConsumerCore

    /// Makes a consumer. It connects when a loop begins.
    ///
    /// - Throws: ``RabbitError`` of kind `invalidConfiguration`, naming the setting.
    public init(
        _ configuration: Configuration,
        logger: Logger = Logger(label: "RabbitDelivery")
    ) throws(RabbitError) {
        core = try ConsumerCore(configuration, logger: logger)
    }

    deinit {
        core.beginClosing(within: core.configuration.closeTimeout)
    }

    /// The queue's deliveries, in the order in which the broker sends them; what failed comes again when its time has come.
    ///
    /// The loop ends when the consumer is closed or the task cancelled, and throws ``RabbitError`` where the consumer cannot go on: its
    /// login was refused, its queue is not there (404) or another connection's (405), its topology differs (406). Several loops may run
    /// at the same time: each delivery goes to one of them.
    /// The sequence keeps the consumer: it is not closed by being dropped as long as a loop goes on.
    public var deliveries: Deliveries { Deliveries(consumer: self) }

    /// What happens to the consumer, from now on.
    public var events: RabbitEvents { core.events.listen() }

    /// Waits until there is a connection, the topology is declared on it and the broker delivers; returns at once where that is so.
    ///
    /// Reading does not need it, and begins the connecting. It is for programs that want to know at their start, or before they end
    /// in order.
    ///
    /// - Parameter timeout: How long to wait.
    /// - Throws: ``RabbitError``: what the login or the topology was refused for, `timedOut` with the last problem, `cancelled`,
    ///   `closed`.
    public func waitUntilConnected(within timeout: Duration = .seconds(10)) async throws(RabbitError) {
        try await core.connected.wait(within: timeout)
    }

    /// How many messages of its queue were ready when its channel was opened, before it was handed any.
    ///
    /// - Throws: As ``waitUntilConnected(within:)``.
    package func readyCount(within timeout: Duration) async throws(RabbitError) -> Int {
        try core.start()
        try await core.connected.wait(within: timeout)
        return core.messageCount(of: core.configuration.queue) ?? 0
    }

    /// How a consumer ended.
    public struct CloseSummary: Sendable, Hashable {
        /// Deliveries that the application held without a verdict; the broker delivers them again.
        public internal(set) var unsettled = 0
        /// Verdicts, in the life of the consumer, that came after their channel was gone, and changed nothing.
        public internal(set) var lateVerdicts = 0
        /// Whether the broker has said, by closing the channel in order, that it has every acknowledgement.
        public internal(set) var acknowledgementsReachedBroker = false
    }

    /// Hands out nothing more, waits for the deliveries in hand, tells the broker what was acknowledged, and ends.
    ///
    /// A delivery that the application does not hold any longer is not waited for. Ends by the deadline and a second, whatever the broker does.
    /// Closing again, or from several tasks, is allowed; the earliest deadline counts. A handler of `forEach` may not wait for this:
    /// it would wait for itself, until the time is over.
    ///
    /// - Parameter timeout: How long all of that may take together.
    /// - Returns: How it ended.
    @discardableResult
    public func close(within timeout: Duration = .seconds(30)) async -> CloseSummary {
        await core.close(within: timeout)
    }

    /// Waits for the service group to shut down, then closes within ``Configuration/closeTimeout``.
    ///
    /// The consumer works whether this runs or not. Cancelling the task that runs it closes the consumer within two seconds.
    public func run() async throws {
        do {
            try await gracefulShutdown()
        } catch {
            await core.close(within: min(.seconds(2), core.configuration.closeTimeout))
            throw error
        }
        await core.close(within: core.configuration.closeTimeout)
    }

    /// A consumer's deliveries.
    public struct Deliveries: AsyncSequence, Sendable {
        /// Kept, for a consumer that is dropped closes itself.
        let consumer: RabbitConsumer

        /// Goes through them.
        public struct AsyncIterator: AsyncIteratorProtocol {
            let consumer: RabbitConsumer
            private var core: ConsumerCore { consumer.core }

            init(_ consumer: RabbitConsumer) { self.consumer = consumer }

            /// The next one; nil when the consumer is closed or the task cancelled.
            ///
            /// - Throws: ``RabbitError`` where the consumer cannot go on.
            public mutating func next() async throws(RabbitError) -> Delivery? {
                try core.start()
                return try await core.next().get().map { Delivery($0) }
            }

            /// The next one; nil when the consumer is closed or the task cancelled.
            public mutating func next(isolation actor: isolated (any Actor)?) async throws(RabbitError) -> Delivery? {
                try core.start()
                return try await core.next().get().map { Delivery($0) }
            }
        }

        /// Goes through them.
        public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(consumer) }
    }
}

/// A consumer for the length of a scope: closed when `body` ends, however it does.
///
/// - Returns: What `body` returns.
/// - Throws: ``RabbitError`` of kind `invalidConfiguration`, and what `body` throws.
@discardableResult
public func withRabbitConsumer<Result>(
    _ configuration: RabbitConsumer.Configuration,
    logger: Logger = Logger(label: "RabbitDelivery"),
    _ body: (RabbitConsumer) async throws -> sending Result
) async throws -> sending Result {
    let consumer = try RabbitConsumer(configuration, logger: logger)
    return try await withClient(consumer, body) { _ = await $0.close(within: configuration.closeTimeout) }
}
