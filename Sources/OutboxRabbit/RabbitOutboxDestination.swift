public import Logging
public import OutboxDelivery
public import RabbitDelivery
internal import Synchronization

/// RabbitMQ as an outbox's destination.
///
/// ```swift
/// let rabbit = try RabbitOutboxDestination(.init(RabbitBroker(uri: url), topology: topology), exchange: "orders")
/// let publisher = OutboxPublisher(store: outbox, destinations: ["rabbit": rabbit])
/// // message: OutboxMessage(destination: "rabbit", topic: "new.fruit", key: order.id, payload: json)
/// ```
///
/// A row becomes a message as ``RabbitDelivery/RabbitMessage/init(_:exchange:)`` says: its topic is the routing key. Messages are
/// mandatory and persistent, and each is finished when the broker has confirmed it. Messages with the same key are published one after
/// the other, each when the one before is confirmed, for on the way to a queue one can be refused and the next one not; all others
/// at the same time.
///
/// | RabbitMQ | outcome |
/// |---|---|
/// | confirmed (`basic.ack`) | accepted |
/// | no queue is bound for the routing key (`basic.return`), the exchange is not there (404) or not allowed (403) | unroutable |
/// | not taken (`basic.nack`): a queue is full and has `x-overflow=reject-publish` | unavailable, or rejected: ``nackMeaning`` |
/// | refused for good: too large, a user id that is another's (406), a row that is no message | rejected |
/// | written, and the connection lost or no confirm in time | unknown |
/// | no connection, blocked by an alarm, the login refused, the topology differs | unavailable |
///
/// A broker answers a message that it refuses for good by closing the channel, and with it all that is under way on it. What was is
/// sent again one by one, on a connection for that, to find which it was: the others are accepted then, and may arrive twice. A
/// publisher that cannot go on, because its login was refused for instance, is made anew for the next batch.
public final class RabbitOutboxDestination: OutboxDestination {
    /// What it means that the broker did not take a message.
    public enum NackMeaning: String, Sendable, Hashable {
        /// The queue as a whole is full: the message is sent again for as long as it takes, and never parked for that. A backlog
        /// for it holds up the destination's other queues, too: a queue that may be full has a destination of its own.
        case unavailable
        /// A verdict on the message: it is tried again as often as ``OutboxDelivery/OutboxRetry`` says, and parked then.
        case rejected
    }

    private enum Line: Sendable {
        case shared
        /// Has one message under way at a time, so that a channel that is closed says whose fault it was.
        case single
    }

    private struct State {
        var publishers: [Line: RabbitPublisher] = [:]
        var isClosed = false
    }

    private let configuration: RabbitPublisher.Configuration
    private let nackMeaning: NackMeaning
    private let logger: Logger
    private let message: @Sendable (OutboxEvent) throws -> RabbitMessage
    // Batches of several slots, and closing, meet here.
    private let state: Mutex<State>

    /// A destination for whose messages a closure decides what they are.
    ///
    /// Whatever it says, the message gets the row's idempotency key: as its `message-id`, where that has room for it (255 bytes), and
    /// as the header `idempotency-key`.
    ///
    /// - Parameters:
    ///   - configuration: The publisher's.
    ///   - nackMeaning: What becomes of a message that the broker did not take.
    ///   - logger: Where the publisher's log lines go.
    ///   - message: Makes a message of a row. A row that it throws for is rejected and parked, with the error as the reason.
    /// - Throws: ``RabbitDelivery/RabbitError`` of kind `invalidConfiguration`.
    public init(
        _ configuration: RabbitPublisher.Configuration,
        nackMeaning: NackMeaning = .unavailable,
        logger: Logger = Logger(label: "OutboxRabbit"),
        message: @escaping @Sendable (OutboxEvent) throws -> RabbitMessage
    ) throws(RabbitError) {
        self.configuration = configuration
        self.nackMeaning = nackMeaning
        self.logger = logger
        self.message = message
        state = Mutex(State(publishers: [.shared: try RabbitPublisher(configuration, logger: logger)]))
    }

    /// A destination for messages as ``RabbitDelivery/RabbitMessage/init(_:exchange:)`` makes them.
    ///
    /// - Parameters:
    ///   - configuration: The publisher's.
    ///   - exchange: The exchange of rows that name none in their attribute `exchange`; empty for the default one, where the topic is a
    ///     queue's name.
    ///   - nackMeaning: What becomes of a message that the broker did not take.
    ///   - logger: Where the publisher's log lines go.
    /// - Throws: ``RabbitDelivery/RabbitError`` of kind `invalidConfiguration`.
    public convenience init(
        _ configuration: RabbitPublisher.Configuration,
        exchange: String = "",
        nackMeaning: NackMeaning = .unavailable,
        logger: Logger = Logger(label: "OutboxRabbit")
    ) throws(RabbitError) {
        try self.init(configuration, nackMeaning: nackMeaning, logger: logger) { event in
            try RabbitMessage(event, exchange: exchange)
        }
    }

    /// Ends the connections. What is under way gets its outcome within the time and a second. To be called after the publisher's end;
    /// where it is not called they end with the destination.
    public func close(within timeout: Duration = .seconds(10)) async {
        let publishers = state.withLock { state in
            state.isClosed = true
            return Array(state.publishers.values)
        }
        // Both at once: the time is for all of it.
        await withDiscardingTaskGroup { group in
            for publisher in publishers { group.addTask { await publisher.close(within: timeout) } }
        }
    }

    /// Publishes a batch, and waits for its confirms.
    public func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
        let chains = KeyChains(batch.map(\.message.key))
        return await chains.run(maximum: configuration.maximumUnconfirmed) { [self] index, before in
            if let before, !before.isAccepted {
                return .unavailable(reason: "one with its key that comes before it is not stored")
            }
            return await publish(batch[index])
        }
    }

    private func publish(_ event: OutboxEvent) async -> OutboxOutcome {
        var message: RabbitMessage
        do {
            message = try self.message(event)
        } catch {
            return .rejected(reason: "no message can be made of it: \(error)", isRetriable: false)
        }
        message.stamp(event)
        guard let first = await send(message, through: .shared) else { return Self.closed }
        guard case .failure(let error) = first, error.closedTheChannel else { return outcome(first, of: message) }
        // The fault may be another's, and there is no time left to find out.
        if Task.isCancelled { return .unknown(reason: error.reason) }
        // By itself it has an answer of its own. Where it was not sent again, the first attempt is what counts.
        guard let second = await send(message, through: .single) else { return .unknown(reason: error.reason) }
        if case .failure(let error) = second, error.persistence == .notPersisted, error.kind != .returned {
            return .unknown(reason: error.reason)
        }
        return outcome(second, of: message)
    }

    /// - Returns: Nil where the destination is closed.
    private func send(
        _ message: RabbitMessage,
        through line: Line
    ) async -> Result<RabbitConfirmation, RabbitError>? {
        guard let publisher = publisher(line) else { return nil }
        do throws(RabbitError) {
            return .success(try await publisher.send(message))
        } catch {
            if error.persistence == .notPersisted, await publisher.isDone { replace(publisher, line) }
            return .failure(error)
        }
    }

    /// The publisher of a line; one is made where there is none.
    private func publisher(_ line: Line) -> RabbitPublisher? {
        state.withLock { state in
            if state.publishers[line] == nil, !state.isClosed {
                var configuration = configuration
                if line == .single { configuration.maximumUnconfirmed = 1 }
                state.publishers[line] = try? RabbitPublisher(configuration, logger: logger)
            }
            return state.publishers[line]
        }
    }

    /// A publisher that is done is replaced once, whichever batch finds out.
    private func replace(_ old: RabbitPublisher, _ line: Line) {
        state.withLock { state in
            if !state.isClosed, state.publishers[line] === old { state.publishers[line] = nil }
        }
    }

    private static let closed = OutboxOutcome.unavailable(reason: "the publisher is closed or is being made anew")

    private func outcome(
        _ result: Result<RabbitConfirmation, RabbitError>,
        of message: RabbitMessage
    ) -> OutboxOutcome {
        let error: RabbitError
        switch result {
        case .success(let confirmation):
            let place = message.exchange.isEmpty ? message.routingKey : "\(message.exchange)/\(message.routingKey)"
            return .accepted(
                OutboxReceipt(place: place, position: Int64(clamping: confirmation.sequenceNumber))
            )
        case .failure(let failure): error = failure
        }
        switch (error.kind, error.persistence) {
        case (.returned, _): return .unroutable(reason: error.reason)
        case (.nacked, _):
            switch nackMeaning {
            case .unavailable: return .unavailable(reason: error.reason)
            case .rejected: return .rejected(reason: error.reason, isRetriable: true)
            }
        case (.notFound, .possiblyPersisted), (.authorization, .possiblyPersisted):
            return .unroutable(reason: error.reason)
        case (.channelClosed, .possiblyPersisted) where error.code == 406:
            return .rejected(reason: error.reason, isRetriable: false)
        case (_, .possiblyPersisted): return .unknown(reason: error.reason)
        case (.invalidArgument, _), (.messageTooLarge, _):
            return .rejected(reason: error.reason, isRetriable: false)
        default: return .unavailable(reason: error.reason)
        }
    }
}

extension RabbitError {
    /// Whether the broker closed the channel for a message: this one, or another that was under way beside it.
    fileprivate var closedTheChannel: Bool {
        guard persistence == .possiblyPersisted, code != nil else { return false }
        switch kind {
        case .notFound, .authorization, .channelClosed: return true
        default: return false
        }
    }
}

extension RabbitPublisher {
    /// Whether it will never have a connection again.
    fileprivate var isDone: Bool {
        get async {
            do throws(RabbitError) {
                try await waitUntilConnected(within: .zero)
                return false
            } catch {
                // Without a failure it is only that there is no connection now.
                return error.recovery != .retry
            }
        }
    }
}
