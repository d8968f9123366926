@_exported public import DeliveryCore

/// What went wrong, whether the message may have been stored all the same, and what to do about it.
///
/// ```swift
/// do {
///     try await producer.send(message)
/// } catch {                                   // a KafkaError: sends throw nothing else
///     switch (error.persistence, error.recovery) {
///     case (.possiblyPersisted, _): …         // sending it again may store it twice
///     case (_, .retry): …                     // it is certainly not stored; try again
///     default: throw error
///     }
/// }
/// ```
public struct KafkaError: DeliveryError, Sendable, Hashable {
    /// What happened. Not an enumeration, so that kinds can be added without breaking a `switch`: it needs a `default`.
    public struct Kind: Sendable, Hashable, CustomStringConvertible {
        private enum Base: String {
            case brokersUnreachable, timedOut, unconfirmed, unknownTopicOrPartition, messageTooLarge, batchRefused,
                invalidConfiguration
            case invalidArgument, closed, cancelled, authentication, authorization, assignmentEnded, offsetOutOfRange,
                fenced
            case transactionOutcomeUnknown, fatal, broker, client
        }

        private let base: Base

        private init(_ base: Base) {
            self.base = base
        }

        /// The kind's name, such as `timedOut`.
        public var description: String { base.rawValue }

        /// No broker could be reached for as long as the operation was allowed to take.
        public static let brokersUnreachable = Kind(.brokersUnreachable)
        /// The broker did not confirm in time.
        public static let timedOut = Kind(.timedOut)
        /// The broker confirmed a later message of the partition, and this one it refused or did not answer: it may be stored or
        /// not. Happens while a partition's leader changes or begins, to the first messages of a producer in that partition, and
        /// not at all with ``KafkaProducer/Configuration/maximumInFlightRequests`` of 1. Sent again it comes after the later one.
        public static let unconfirmed = Kind(.unconfirmed)
        /// The topic, or the partition of the topic, does not exist.
        public static let unknownTopicOrPartition = Kind(.unknownTopicOrPartition)
        /// The message is larger than the client's, the topic's or the broker's limit.
        public static let messageTooLarge = Kind(.messageTooLarge)
        /// The broker refused the batch that the message travelled in, for one of its messages or for the size of them all.
        /// This one may be good: sent again by itself it gets an answer of its own.
        public static let batchRefused = Kind(.batchRefused)
        /// A setting is unknown, out of range, or contradicts another.
        public static let invalidConfiguration = Kind(.invalidConfiguration)
        /// The request itself is not possible, for instance an empty topic name or a negative partition.
        public static let invalidArgument = Kind(.invalidArgument)
        /// The client is closed or closing.
        public static let closed = Kind(.closed)
        /// The calling task was cancelled.
        public static let cancelled = Kind(.cancelled)
        /// The client does not have the credentials, or they were refused.
        public static let authentication = Kind(.authentication)
        /// The client is not allowed to do this.
        public static let authorization = Kind(.authorization)
        /// The partition went to another member of the group before this was done.
        public static let assignmentEnded = Kind(.assignmentEnded)
        /// A stored offset is outside of what the partition holds, and the consumer was told not to reset it.
        public static let offsetOutOfRange = Kind(.offsetOutOfRange)
        /// Another producer with the same transactional id has taken over.
        public static let fenced = Kind(.fenced)
        /// No answer says whether a transaction was committed: it was, or it was aborted, and nothing in between.
        public static let transactionOutcomeUnknown = Kind(.transactionOutcomeUnknown)
        /// The client cannot go on, see `recovery`.
        public static let fatal = Kind(.fatal)
        /// The broker answered with an error that has no kind of its own; `code` names it.
        public static let broker = Kind(.broker)
        /// librdkafka answered with an error that has no kind of its own; `code` names it.
        public static let client = Kind(.client)
    }

    /// Whether a message that could not be confirmed may be in the topic (`rd_kafka_message_status`).
    public typealias Persistence = DeliveryPersistence

    /// What can be done about it.
    public typealias Recovery = DeliveryRecovery

    /// What happened.
    public let kind: Kind

    /// Whether the message may be stored; nil where the error is not about a message.
    public let persistence: Persistence?

    /// What can be done about it.
    public let recovery: Recovery

    /// What happened, in a sentence for a person. Values of secret settings never appear in it.
    public let reason: String

    /// librdkafka's name of the error, such as `MSG_TIMED_OUT` or `NOT_LEADER_FOR_PARTITION`, as its documentation and
    /// issue tracker have it (`rd_kafka_err2name`); nil where the error is the library's own.
    public let code: String?

    /// The error behind this one, where there is one that is not librdkafka's. It is not part of the description, and two errors
    /// that differ in it alone are equal.
    public let underlyingError: (any Error)?

    /// An error as the library's, for tests and for a ``Destination`` of your own.
    ///
    /// - Parameters:
    ///   - kind: What happened.
    ///   - persistence: Whether the message may be stored; nil where the error is not about a message.
    ///   - recovery: What can be done about it.
    ///   - reason: What happened, in a sentence for a person, without a full stop.
    ///   - code: librdkafka's name of the error.
    ///   - underlyingError: The error behind this one.
    public init(
        _ kind: Kind,
        persistence: Persistence? = nil,
        recovery: Recovery,
        reason: String,
        code: String? = nil,
        underlyingError: (any Error)? = nil
    ) {
        self.kind = kind
        self.persistence = persistence
        self.recovery = recovery
        self.reason = reason
        self.code = code
        self.underlyingError = underlyingError
    }

    /// Whether they say the same; what is behind them is not compared.
    public static func == (one: KafkaError, other: KafkaError) -> Bool {
        one.kind == other.kind && one.persistence == other.persistence && one.recovery == other.recovery
            && one.reason == other.reason && one.code == other.code
    }

    /// What is compared is hashed.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(kind)
        hasher.combine(persistence)
        hasher.combine(recovery)
        hasher.combine(reason)
        hasher.combine(code)
    }
}

extension KafkaError: CustomStringConvertible {
    /// What to do, what happened, and librdkafka's name for it.
    public var description: String {
        sentences(isCancelled: kind == .cancelled, isClosed: kind == .closed)
            + (code.map { " (librdkafka: \($0))" } ?? "")
    }
}

extension KafkaError {
    static func closed(persistence: Persistence? = .notPersisted) -> KafkaError {
        KafkaError(.closed, persistence: persistence, recovery: .recreateClient, reason: "the client is closed")
    }

    static func cancelled(persistence: Persistence?) -> KafkaError {
        KafkaError(.cancelled, persistence: persistence, recovery: .retry, reason: "the calling task was cancelled")
    }

    static func invalidArgument(_ reason: String, persistence: Persistence? = .notPersisted) -> KafkaError {
        KafkaError(.invalidArgument, persistence: persistence, recovery: .fixRequest, reason: reason)
    }

    static func invalidConfiguration(_ reason: String) -> KafkaError {
        KafkaError(.invalidConfiguration, recovery: .fixRequest, reason: reason)
    }
}
