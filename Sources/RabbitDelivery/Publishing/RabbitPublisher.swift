public import Logging
public import ServiceLifecycle

/// Publishes messages, and says of each whether the broker has confirmed it or why not.
///
/// ```swift
/// let publisher = try RabbitPublisher(.init(hosts: ["localhost:5672"], topology: topology))
/// try await publisher.send(RabbitMessage(exchange: "orders", routingKey: "new", body: "three apples"))
/// await publisher.close()
/// ```
///
/// The publisher has a connection of its own, with a thread of its own, from the moment it is made; it connects in the
/// background, and again when the connection is lost. Give it to a `ServiceGroup` for an orderly end, use
/// ``withRabbitPublisher(_:logger:_:)``, or call ``close(within:)``. A publisher that is dropped without any of these goes on in
/// the background for at most ``Configuration/closeTimeout``, so that what was accepted is still sent.
///
/// Every send has exactly one outcome: a ``RabbitConfirmation``, or a ``RabbitError`` that says whether the message may be stored.
/// Nothing is sent again by itself: what was under way when a connection was lost fails as `possiblyPersisted`. All methods can
/// be called from any task at any time, and none blocks a thread, whatever the broker does.
public final class RabbitPublisher: Service, Destination {
    let core: PublisherCore

    /// Makes a publisher. It connects in the background; a broker that cannot be reached shows when a send fails, and in ``events``.
    ///
    /// - Throws: ``RabbitError`` of kind `invalidConfiguration`, naming the setting.
    public init(
        _ configuration: Configuration,
        logger: Logger = Logger(label: "RabbitDelivery")
    ) throws(RabbitError) {
        core = try PublisherCore(configuration, logger: logger)
        try core.start()
    }

    deinit {
        core.beginClosing(within: core.configuration.closeTimeout)
    }

    /// Publishes a message and waits until the broker has confirmed it.
    ///
    /// Waits for room where ``Configuration/maximumUnconfirmed`` is reached, while there is no connection, and while the broker
    /// takes nothing for lack of memory or disk space; all together for ``Configuration/confirmTimeout`` at most.
    ///
    /// - Throws: ``RabbitError``: `nacked`, `returned`, `channelClosed`, `notFound` (no such exchange), `connectionLost`, `timedOut`,
    ///   `messageTooLarge`, `invalidArgument`, `closed`, what the login or the topology was refused for, or `cancelled` where the
    ///   task is: with `notPersisted` where nothing of the message had been written, which then is not sent.
    @discardableResult
    public func send(_ message: RabbitMessage) async throws(RabbitError) -> RabbitConfirmation {
        let slot = SendSlot()
        let send = try core.queued(message, .slot(slot))
        if try !core.offer(send) { try await core.waitForRoom(send) }
        let result = await slot.wait(recalls: true)
        if case .failure(let error) = result, error.kind == .cancelled { core.noteRecalled() }
        return try result.get()
    }

    /// Accepts a message, and returns without waiting for the broker. The call waits only for room.
    ///
    /// The order in which one task enqueues is the order in which messages are published.
    ///
    /// - Returns: The send that is under way, whose confirmation can be awaited later.
    /// - Throws: ``RabbitError`` with `notPersisted`: the message was not accepted.
    public func enqueue(_ message: RabbitMessage) async throws(RabbitError) -> PendingConfirmation {
        let slot = SendSlot()
        let send = try core.queued(message, .slot(slot))
        if try !core.offer(send) { try await core.waitForRoom(send) }
        return PendingConfirmation(slot: slot)
    }

    /// A message that was accepted, and whose confirmation is still to come.
    ///
    /// Await it now, later, more than once, from several tasks, or never: the message is sent all the same.
    public struct PendingConfirmation: Sendable {
        let slot: SendSlot

        /// Waits for the broker's answer.
        ///
        /// - Throws: ``RabbitError``, as ``RabbitPublisher/send(_:)`` does. A task that is cancelled while it waits gets `cancelled`
        ///   with `possiblyPersisted`; others that await the same confirmation are not affected.
        public var confirmation: RabbitConfirmation {
            get async throws(RabbitError) { try await slot.wait(recalls: false).get() }
        }
    }

    /// Publishes many messages, in order, and waits once for all of them.
    ///
    /// Where the task is cancelled, messages of which nothing was written are not sent, and none are accepted any more.
    ///
    /// - Returns: For each message, in the order given, its confirmation or why there is none. One failure does not keep the others
    ///   from being sent.
    public func send(
        contentsOf messages: some Sequence<RabbitMessage>
    ) async -> [Result<RabbitConfirmation, RabbitError>] {
        let batch = SendBatch()
        for message in messages {
            let index = batch.add()
            do throws(RabbitError) {
                if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
                let send = try core.queued(message, .batch(batch, index))
                if try !core.offer(send) { try await core.waitForRoom(send) }
            } catch {
                _ = batch.finish(index, .failure(error))
            }
        }
        let results = await batch.results()
        if Task.isCancelled { core.noteRecalled() }
        return results
    }

    /// Waits until every message accepted so far has its outcome. How each ended is its own send's to say.
    ///
    /// - Throws: ``RabbitError`` of kind `cancelled` where the task is cancelled.
    public func flush() async throws(RabbitError) {
        try await core.flush()
    }

    /// What became of the messages that were under way when closing began.
    public struct CloseSummary: Sendable, Hashable {
        /// Confirmed after all.
        public var delivered = 0
        /// Certainly not stored.
        public var failed = 0
        /// Handed to the network, and not answered in time.
        public var unknown = 0

        /// Nothing was under way.
        public init() {}
    }

    /// Refuses new messages, waits for those under way, and ends.
    ///
    /// When the time is over what is left gets its outcome at once: `notPersisted` where nothing of it was written, otherwise
    /// `possiblyPersisted`. Ends by the deadline and a second, whatever the broker does. Closing again, or from several tasks, is
    /// allowed; the earliest deadline counts.
    ///
    /// - Parameter timeout: How long to wait for what is under way; zero does not wait.
    /// - Returns: What became of it.
    @discardableResult
    public func close(within timeout: Duration = .seconds(30)) async -> CloseSummary {
        await core.close(within: timeout)
    }

    /// Waits until there is a connection and the topology is declared on it; returns at once where that is so.
    ///
    /// Sending does not need it. It is for programs that want to know at their start.
    ///
    /// - Parameter timeout: How long to wait.
    /// - Throws: ``RabbitError``: what the login or the topology was refused for, `timedOut` with the last problem, `cancelled`,
    ///   `closed`.
    public func waitUntilConnected(within timeout: Duration = .seconds(10)) async throws(RabbitError) {
        try await core.connected.wait(within: timeout)
    }

    /// What happens to the publisher, from now on.
    public var events: RabbitEvents { core.events.listen() }

    /// Waits for the service group to shut down, then closes within ``Configuration/closeTimeout``.
    ///
    /// The publisher sends whether this runs or not. Cancelling the task that runs it closes the publisher without waiting.
    public func run() async throws {
        do {
            try await gracefulShutdown()
        } catch {
            await core.close(within: .zero)
            throw error
        }
        await core.close(within: core.configuration.closeTimeout)
    }
}

/// A publisher for the length of a scope: closed when `body` ends, however it does.
///
/// - Returns: What `body` returns.
/// - Throws: ``RabbitError`` of kind `invalidConfiguration`, and what `body` throws.
@discardableResult
public func withRabbitPublisher<Result>(
    _ configuration: RabbitPublisher.Configuration,
    logger: Logger = Logger(label: "RabbitDelivery"),
    _ body: (RabbitPublisher) async throws -> sending Result
) async throws -> sending Result {
    let publisher = try RabbitPublisher(configuration, logger: logger)
    return try await withClient(publisher, body) { _ = await $0.close(within: configuration.closeTimeout) }
}
