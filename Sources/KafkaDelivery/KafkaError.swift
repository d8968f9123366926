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
    /// What happened. More kinds may be added, so switch with a `default`.
    public enum Kind: String, Sendable, Hashable {
        /// No broker could be reached for as long as the operation was allowed to take.
        case brokersUnreachable
        /// The broker did not confirm in time.
        case timedOut
        /// The topic, or the partition of the topic, does not exist.
        case unknownTopicOrPartition
        /// The message is larger than the client's, the topic's or the broker's limit.
        case messageTooLarge
        /// The broker refused the batch that the message travelled in, for one of its messages or for the size of them all.
        /// This one may be good: sent again by itself it gets an answer of its own.
        case batchRefused
        /// A setting is unknown, out of range, or contradicts another.
        case invalidConfiguration
        /// The request itself is not possible, for instance an empty topic name or a negative partition.
        case invalidArgument
        /// The client is closed or closing.
        case closed
        /// The calling task was cancelled.
        case cancelled
        /// The client does not have the credentials, or they were refused.
        case authentication
        /// The client is not allowed to do this.
        case authorization
        /// The partition went to another member of the group before this was done.
        case assignmentEnded
        /// A stored offset is outside of what the partition holds, and the consumer was told not to reset it.
        case offsetOutOfRange
        /// Another producer with the same transactional id has taken over.
        case fenced
        /// Nobody answered whether a transaction was committed: it was, or it was aborted, and nothing in between.
        case transactionOutcomeUnknown
        /// The client cannot go on, see `recovery`.
        case fatal
        /// The broker answered with an error that has no kind of its own; `code` names it.
        case broker
        /// librdkafka answered with an error that has no kind of its own; `code` names it.
        case client
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

    init(
        _ kind: Kind,
        persistence: Persistence? = nil,
        recovery: Recovery,
        reason: String,
        code: String? = nil
    ) {
        self.kind = kind
        self.persistence = persistence
        self.recovery = recovery
        self.reason = reason
        self.code = code
    }
}

extension KafkaError: CustomStringConvertible {
    /// What to do, what happened, and librdkafka's name for it.
    public var description: String {
        let stored =
            switch persistence {
            case .notPersisted: " The message is not stored."
            case .possiblyPersisted: " The message may be stored."
            case nil: ""
            }
        let name = code.map { " (librdkafka: \($0))" } ?? ""
        return "\(advice): \(reason).\(stored)\(name)"
    }

    private var advice: String {
        switch (kind, recovery) {
        case (.cancelled, _): "Cancelled"
        case (.closed, _): "Closed"
        case (_, .retry): "Try again later"
        case (_, .fixRequest): "Change the request"
        case (_, .abortTransaction): "Abort the transaction"
        case (_, .recreateClient): "Make a new client"
        }
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
