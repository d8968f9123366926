public import Logging

/// Sends dead letters again to where they came from.
///
/// ```swift
/// var configuration = RabbitRedrive.Configuration(broker, queue: "orders-dead")
/// configuration.isWanted = { $0.deadLetter?.errorType == "CardDeclined" }
/// let summary = try await RabbitRedrive(configuration).run(through: publisher)
/// ```
///
/// A letter is acknowledged only when its replay is confirmed. A replay is the message with its properties and headers, without what
/// the broker and this package added, and with one more header that counts how often it went round; one that did so too often is left.
/// It is persistent, and it has no time to live, which as a rule is over, no user id, which would have to be the publisher's, and no
/// `CC`: the queues of those keys had theirs. What is left stays in its queue. The messages that are there at the beginning are looked
/// at, and no more: those that fail again meanwhile are for another run.
///
/// The broker closes the channel for an exchange that is missing, with all that is under way on it. So the first replay to an exchange goes by
/// itself, and where there is no such exchange its letters are left, and no others.
///
/// Cancelling its task ends a run in good order: what was sent is waited for, within the publisher's `confirmTimeout`, and
/// acknowledged, and ``Summary/isPartial`` says that there may be more.
public struct RabbitRedrive: Sendable {
    /// What to redrive.
    public struct Configuration: Sendable {
        /// Where the broker is, and how to log in.
        public var broker: RabbitBroker
        /// The queue with the dead letters.
        public var queue: String
        /// Which letters; all by default.
        public var isWanted: @Sendable (RabbitConsumer.Delivery) -> Bool = { _ in true }
        /// Where they go instead of where they came from; nil for that.
        public var destination: @Sendable (RabbitConsumer.Delivery) -> (exchange: String, routingKey: String)? = { _ in
            nil
        }
        /// How many a second, at most, 0.001 to 1,000,000; nil for as many as are confirmed.
        public var maximumPerSecond: Double?
        /// How many are sent, at most, zero or more; nil for all. The run ends there.
        public var maximumLetters: Int?
        /// How often one may go round, 1 or more.
        public var maximumRedrives = 3
        /// How long the next letter is waited for, more than zero: fewer may come than were counted, where another consumer reads the queue too
        /// or letters expire. Then the run ends.
        public var maximumWait: Duration = .seconds(5)
        /// How many letters that are left are held while others are read, 1 to 60,000: the broker sends no more then, and the run ends.
        public var maximumHeld = 10_000

        /// All letters of a queue.
        public init(_ broker: RabbitBroker, queue: String) {
            self.broker = broker
            self.queue = queue
        }
    }

    /// What becomes of a letter.
    public enum Decision: Sendable, Hashable {
        /// It is sent there.
        case send(exchange: String, routingKey: String, redrives: Int)
        /// It is not wanted.
        case unwanted
        /// It went round so often already.
        case tooOften(Int)
        /// Nothing says where it came from.
        case noOrigin
    }

    /// What came of a run.
    public struct Summary: Sendable, Hashable {
        /// Sent, confirmed, and acknowledged; see ``acknowledgementsReachedBroker``. Of a preview: that would be.
        public internal(set) var redriven = 0
        /// Left, because they are not wanted.
        public internal(set) var unwanted = 0
        /// Left, because they went round too often.
        public internal(set) var tooOften = 0
        /// Left, because nothing says where they came from.
        public internal(set) var withoutOrigin = 0
        /// Left, because their replays were not confirmed.
        public internal(set) var failed: [RabbitError] = []
        /// Whether the run ended before it had seen every letter that it had counted: it was cancelled, has sent so many as it should or
        /// holds so many as it may, or the next one did not come.
        public internal(set) var isPartial = false
        /// How often the broker had delivered a letter before without an acknowledgement (`x-delivery-count`): the largest number seen; nil
        /// but for quorum queues. What this run leaves has one more afterwards.
        public internal(set) var largestDeliveryCount: Int?
        /// Whether the broker has said, by closing the channel in order, that it has every acknowledgement. Where it has not, letters
        /// that were redriven may still be in their queue.
        public internal(set) var acknowledgementsReachedBroker = true

        /// How many are left of those that were looked at.
        public var left: Int { unwanted + tooOften + withoutOrigin + failed.count }
    }

    /// How long a run waits for its first connection.
    static let connectionTimeout = Duration.seconds(30)

    private let configuration: Configuration
    private let logger: Logger

    /// A redrive.
    public init(_ configuration: Configuration, logger: Logger = Logger(label: "RabbitDelivery")) {
        self.configuration = configuration
        self.logger = logger
    }

    /// What becomes of a letter.
    public func decide(_ letter: RabbitConsumer.Delivery) -> Decision {
        guard configuration.isWanted(letter) else { return .unwanted }
        let redrives = RabbitDeadLetter.redrives(letter.headers)
        guard redrives < configuration.maximumRedrives else { return .tooOften(redrives) }
        if let (exchange, routingKey) = configuration.destination(letter) {
            return .send(exchange: exchange, routingKey: routingKey, redrives: redrives + 1)
        }
        guard let deadLetter = letter.deadLetter, let routingKey = deadLetter.routingKey else { return .noOrigin }
        return .send(exchange: deadLetter.exchange ?? "", routingKey: routingKey, redrives: redrives + 1)
    }

    /// The message that a letter becomes.
    static func replay(_ letter: RabbitConsumer.Delivery, _ exchange: String, _ routingKey: String, _ redrives: Int)
        -> RabbitMessage
    {
        var message = letter.content
        message.exchange = exchange
        message.routingKey = routingKey
        message.isMandatory = true
        for name in CopyHeader.all + CopyHeader.brokers + CopyHeader.perDelivery + CopyHeader.routing {
            message.properties.headers[name] = nil
        }
        message.properties.headers[CopyHeader.redrives] = .int64(Int64(redrives))
        message.properties.isPersistent = true
        message.properties.expiration = nil
        message.properties.userID = nil
        return message
    }

    /// Looks at the letters and sends nothing; all of them stay.
    ///
    /// The broker puts what a run leaves back into the queue a moment after the run's channel is closed (milliseconds with RabbitMQ 3.10, and
    /// most often in quorum queues): another run that begins at once counts less.
    ///
    /// A quorum queue counts that as a delivery that failed, as it does of every letter that a run leaves: with a delivery limit
    /// (`x-delivery-limit`, 20 by default from RabbitMQ 4.0 on) it gives a letter up that was looked at so often. A queue of dead letters
    /// is better without one. ``Summary/largestDeliveryCount`` says how often that was.
    ///
    /// - Parameter observer: Told of each letter, in order, and what a run would do with it.
    @discardableResult
    public func preview(_ observer: (RabbitConsumer.Delivery, Decision) -> Void) async throws(RabbitError) -> Summary {
        try await go(through: nil, observer)
    }

    /// Redrives.
    ///
    /// - Parameters:
    ///   - publisher: Who sends the replays.
    ///   - observer: Told of each letter, in order.
    /// - Throws: ``RabbitError`` where the dead-letter queue cannot be read, `timedOut` where there is no connection within
    ///   30 seconds, `cancelled` where the task is cancelled before there is one. How each replay ended is in the summary.
    @discardableResult
    public func run(
        through publisher: RabbitPublisher,
        _ observer: (RabbitConsumer.Delivery, Decision) -> Void = { _, _ in }
    ) async throws(RabbitError) -> Summary {
        try await go(through: publisher, observer)
    }

    private func go(
        through publisher: RabbitPublisher?,
        _ observer: (RabbitConsumer.Delivery, Decision) -> Void
    ) async throws(RabbitError) -> Summary {
        guard (1...60_000).contains(configuration.maximumHeld), configuration.maximumRedrives >= 1,
            (0.001...1_000_000).contains(configuration.maximumPerSecond ?? 1), configuration.maximumLetters ?? 0 >= 0,
            configuration.maximumWait > .zero
        else { throw .invalidConfiguration("a redrive's maximum is out of range") }
        let consumer = try RabbitConsumer(
            .init(
                configuration.broker,
                queue: configuration.queue,
                prefetch: configuration.maximumHeld + RedriveRun.window
            ),
            logger: logger
        )
        var run = RedriveRun(configuration, publisher, self)
        let failure: RabbitError?
        do throws(RabbitError) {
            try await run.read(consumer, observer)
            failure = nil
        } catch {
            failure = error
        }
        await run.finish()
        await run.close(consumer)
        if let failure { throw failure }
        return run.summary
    }
}
