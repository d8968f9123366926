public import Logging

/// Sends dead letters again, to where they came from.
///
/// ```swift
/// var configuration = KafkaRedrive.Configuration(bootstrapServers: ["localhost:9092"], topic: "orders-dlt")
/// configuration.filter.error = "CardDeclined"
/// let redrive = KafkaRedrive(configuration)
///
/// try await redrive.preview { letter, outcome in print(letter, outcome) }   // sends and remembers nothing
/// let summary = try await redrive.run(with: producer)
/// ```
///
/// A run reads the dead-letter topic up to where it ended when the run began, sends what the filter selects, and remembers
/// a dead letter as redriven only when the broker has confirmed its replay. **Nothing is lost, and nothing is redriven
/// twice by surprise**: what was redriven is remembered for each dead letter by itself, so a later run takes up exactly what
/// is left, whatever the filters were. Only where a run ends between a confirmation and the commit that follows it (at most
/// a second, or 500 messages, of each partition) are those redriven again: at least once, like everything here.
///
/// What is remembered is committed for ``Configuration/group``: the offset before which everything was redriven, and in
/// the commit's metadata which of those behind it were. Members of the group share the partitions, so that two runs at the
/// same time do not send the same letters. The metadata holds about 2,000 separate stretches of a partition; a run that
/// would need more stops there and says so (``Summary/scatteredPartitions``).
///
/// ## What a replay looks like
///
/// It has the key, the value (null too) and the headers of the dead letter, which are those of the original. The headers
/// that say why it was a dead letter (`kafka_dlt-…`, `kafka_deliveryAttempt`) or came from retry topics are left out, so that
/// they do not pile up should it fail again; `kafka_delivery-redrive-count` says how often it was redriven. Where it has a
/// key, the key decides the partition, as for any new message of that key; without a key it goes to its original partition,
/// or to any where that does not exist.
///
/// A topic's retention counts from timestamps: a replay with the time of the original may be deleted as soon as it is
/// stored, before a consumer has read it. So its timestamp is that of its sending, and `kafka_delivery-original-timestamp`
/// says when the original was made, however often it was redriven. ``Configuration/timestamps`` can say otherwise.
public struct KafkaRedrive: Sendable {
    /// What is told of each message of the dead-letter topic. Throwing ends the run; what was confirmed is remembered all
    /// the same.
    public typealias Observer = @Sendable (Letter, Outcome) async throws -> Void

    private let configuration: Configuration
    private let logger: Logger

    /// A redrive, which does nothing until it is run.
    ///
    /// - Parameters:
    ///   - configuration: What to redrive, and how.
    ///   - logger: Where log lines go.
    public init(_ configuration: Configuration, logger: Logger = Logger(label: "KafkaDelivery")) {
        self.configuration = configuration
        self.logger = logger
    }

    /// Sends the selected dead letters again.
    ///
    /// Cancelling the task, or shutting down the service that it runs in, ends the run in good order: replays under way are
    /// waited for, for at most half of ``Configuration/closeTimeout``, and what was confirmed is remembered.
    ///
    /// - Parameters:
    ///   - producer: What to send with. Stays the caller's to close.
    ///   - observer: Told of each message, in order within a partition, from several tasks.
    /// - Returns: What was done. A replay that is refused because of what it is (too large, or to a topic that is not there or
    ///   must not be written to) does not end the run: the letter is left, ``Outcome/refused(_:)`` says why, and
    ///   ``Summary/unsendable`` counts it.
    /// - Throws: ``KafkaError``: `invalidConfiguration`; the error of a replay that was not confirmed and may be later, which
    ///   ends the run and leaves the dead letter where it is; `unknownTopicOrPartition` where the dead-letter topic is not
    ///   there; what the brokers refuse of the run itself; `CancellationError`, also where the service is shut down; and
    ///   what the observer throws.
    @discardableResult
    public func run(
        with producer: KafkaProducer,
        _ observer: @escaping Observer = { _, _ in }
    ) async throws -> Summary {
        try await RedriveRun(configuration, producer: producer, observer: observer, logger: logger).run()
    }

    /// Tells what ``run(with:_:)`` would do. Sends nothing, commits nothing, and does not join the group, so that it
    /// disturbs no run that is under way.
    ///
    /// - Parameters:
    ///   - producer: What would be sent with: letters that are too large for it are told as ``Outcome/refused(_:)``, beside
    ///     those that go to no possible topic. What the brokers would refuse is not known before.
    ///   - observer: Told of each message.
    /// - Returns: What would be done.
    /// - Throws: As ``run(with:_:)``.
    @discardableResult
    public func preview(
        for producer: KafkaProducer.Configuration? = nil,
        _ observer: @escaping Observer
    ) async throws -> Summary {
        let run = try RedriveRun(
            configuration,
            producer: nil,
            maximumMessageBytes: producer?.maximumMessageBytes ?? .max,
            observer: observer,
            logger: logger
        )
        return try await run.run()
    }
}

extension KafkaRedrive {
    /// What to redrive, and how. Addresses and topic are required.
    public struct Configuration: Sendable {
        /// Which time a replay has.
        public enum Timestamps: String, Sendable, Hashable {
            /// That of the original message, which the topic's retention may be shorter than.
            case original
            /// That of its sending. The original's is in a header, ``KafkaRedrive/originalTimestampHeader``.
            case redriven
        }

        /// Where to find the cluster, as `host:port`; one that answers is enough (`bootstrap.servers`).
        public var bootstrapServers: [String]

        /// The dead-letter topic.
        public var topic: String

        /// For which group it is remembered what was redriven (`group.id`): `<topic>-redrive`, where nothing else is said.
        /// A group that reads the topic in another way has nothing to do with it, and is refused.
        public var group: String

        /// Which dead letters; all of them, where nothing else is said.
        public var filter = Filter()

        /// Where replays go; nil sends each to the topic that it came from.
        public var destination: String?

        /// How many are sent in a second at most, more than 0; nil for as many as possible.
        public var maximumRate: Double?

        /// How many are sent in all, 1 or more; nil for all.
        public var maximumCount: Int?

        /// How often one message may be redriven in its life, 1 or more. One that was redriven this often, and is here
        /// again, is left: it would only go round.
        public var maximumRedrives = 3

        /// Which time replays have.
        public var timestamps = Timestamps.redriven

        /// How long the end of a run may take: half of it for replays that are under way when the run is cancelled, the
        /// rest for remembering what was confirmed and for leaving the group.
        public var closeTimeout: Duration = .seconds(10)

        /// The name the brokers log and account this client under (`client.id`).
        public var clientID = "kafka-delivery"

        /// How connections are encrypted and authenticated.
        public var security: KafkaSecurity = .plaintext

        /// How long the group waits for a run that says nothing before its partitions go to another, and how often it says that it
        /// is there: as ``KafkaConsumer/Configuration/sessionTimeout`` and ``KafkaConsumer/Configuration/heartbeatInterval``.
        public var sessionTimeout: Duration?
        /// See ``sessionTimeout``.
        public var heartbeatInterval: Duration?

        /// librdkafka's other properties of the consumer, by the names its CONFIGURATION.md has.
        public var additionalProperties = KafkaAdditionalProperties()

        /// Everything of a dead-letter topic, to where it came from.
        public init(bootstrapServers: [String], topic: String) {
            self.bootstrapServers = bootstrapServers
            self.topic = topic
            self.group = topic + "-redrive"
        }
    }

    /// Which dead letters are redriven: those that everything here holds for.
    public struct Filter: Sendable {
        /// Text that the error's type or message contains, letter for letter.
        public var error: String?

        /// Headers that are all there, each with this value. Not those that make it a dead letter.
        public var headers: [KafkaHeader] = []

        /// The earliest time of the original message (``Letter/originalTimestamp``): not that of its dead letter or of an
        /// earlier replay.
        public var since: KafkaTimestamp?

        /// The time of the original message (``Letter/originalTimestamp``) before which it is.
        public var until: KafkaTimestamp?

        /// Partitions of the dead-letter topic.
        public var partitions: Set<Int>?

        /// Offsets in the dead-letter topic.
        public var offsets: Range<Int64>?

        /// Anything else.
        public var predicate: (@Sendable (Letter) -> Bool)?

        /// Everything.
        public init() {}
    }

    /// What a run came to.
    public struct Summary: Sendable, Hashable {
        /// Sent again, confirmed and remembered; in a preview, what would be.
        public internal(set) var redriven = 0
        /// Left because the filter does not select them.
        public internal(set) var filtered = 0
        /// Left because they were redriven ``Configuration/maximumRedrives`` times, or because they came from the
        /// dead-letter topic itself.
        public internal(set) var refused = 0
        /// Left because they have no headers of a dead letter, which would say where to send them.
        public internal(set) var notDeadLetters = 0
        /// Left because their replays are refused, and would be again (``KafkaRedrive/Outcome/refused(_:)``).
        public internal(set) var unsendable = 0
        /// Passed over, because an earlier run redrove them while others before them were left.
        public internal(set) var redrivenBefore = 0
        /// Whether the run ended at ``Configuration/maximumCount``, so that there may be more.
        public internal(set) var reachedMaximum = false
        /// Partitions that the run did not go through to the end because more separate stretches than can be remembered
        /// would have been redriven there. Redriving what was left before makes room.
        public internal(set) var scatteredPartitions: Set<Int> = []
        /// Partitions that another member of the group has, or took over.
        public internal(set) var partitionsOfOthers: Set<Int> = []

        /// Nothing was there.
        public init() {}

        /// How many messages are left where they are, as far as the run went.
        public var left: Int { filtered + refused + notDeadLetters + unsendable }
    }
}

extension KafkaRedrive.Configuration {
    func validate() throws(KafkaError) {
        if let fault = TopicName.fault(of: topic) { throw .invalidConfiguration("topic: \(fault)") }
        if let destination {
            if let fault = TopicName.fault(of: destination) { throw .invalidConfiguration("destination: \(fault)") }
            guard destination != topic else {
                throw .invalidConfiguration("destination is \"\(destination)\": another topic is needed")
            }
        }
        if let maximumRate, !(maximumRate > 0 && maximumRate.isFinite) {
            throw .invalidConfiguration("maximumRate is \(maximumRate): more than 0 is needed")
        }
        if let maximumCount, maximumCount < 1 {
            throw .invalidConfiguration("maximumCount is \(maximumCount), less than 1")
        }
        guard maximumRedrives >= 1 else {
            throw .invalidConfiguration("maximumRedrives is \(maximumRedrives), less than 1")
        }
        guard closeTimeout >= .zero else { throw .invalidConfiguration("closeTimeout cannot be less than zero") }
    }

    var consumer: KafkaConsumer.Configuration {
        var consumer = KafkaConsumer.Configuration(bootstrapServers: bootstrapServers, group: group, topics: [topic])
        // All partitions are given back in a rebalance, so that nothing is remembered for one that is moving.
        consumer.assignmentStrategies = [.range]
        consumer.clientID = clientID
        consumer.security = security
        consumer.sessionTimeout = sessionTimeout
        consumer.heartbeatInterval = heartbeatInterval
        consumer.additionalProperties = additionalProperties
        return consumer
    }
}
