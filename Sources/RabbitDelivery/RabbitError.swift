@_exported public import DeliveryCore

/// What went wrong, whether the message may have been stored all the same, and what to do about it.
///
/// ```swift
/// do {
///     try await publisher.send(message)
/// } catch {                                   // a RabbitError: sends throw nothing else
///     switch (error.persistence, error.recovery) {
///     case (.possiblyPersisted, _): …         // sending it again may store it twice
///     case (_, .retry): …                     // it is certainly not stored; try again
///     default: throw error
///     }
/// }
/// ```
public struct RabbitError: DeliveryError, Sendable, Hashable {
    /// What happened. More kinds may be added, so switch with a `default`.
    public enum Kind: String, Sendable, Hashable {
        /// The broker did not take the message (`basic.nack`): a queue is full and has `x-overflow=reject-publish`, or a node failed.
        case nacked
        /// No queue is bound for the message's routing key (`basic.return`, 312); see ``RabbitError/returned``.
        case returned
        /// The broker closed the channel; ``RabbitError/code`` says why.
        case channelClosed
        /// The connection ended, or there is none.
        case connectionLost
        /// The broker did not confirm in time, or there was no room in time.
        case timedOut
        /// The message is larger than the client's limit.
        case messageTooLarge
        /// A setting is out of range, contradicts another, or an address cannot be read.
        case invalidConfiguration
        /// The request itself is not possible.
        case invalidArgument
        /// The client is closed or closing.
        case closed
        /// The calling task was cancelled.
        case cancelled
        /// The login was refused (403 before the connection is open), or there is no mechanism that both sides know.
        case authentication
        /// The client is not allowed to do this (403), or to use this virtual host (530).
        case authorization
        /// The queue, the exchange or the virtual host does not exist (404).
        case notFound
        /// Another connection has the queue for itself (405).
        case resourceLocked
        /// A queue or an exchange exists already, and differs from what was declared (406); or the broker knows no such argument or
        /// kind (406, 503, 540).
        case topologyMismatch
        /// The certificate of the broker is not one to trust, or is another host's.
        case certificate
        /// The broker ended the consumer (`basic.cancel`): its queue was deleted.
        case consumerCancelled
        /// What was received is not AMQP 0-9-1.
        case protocolViolation
        /// The broker answered with an error that has no kind of its own; ``RabbitError/code`` has its number.
        case broker
    }

    /// Whether a message that could not be confirmed may be in a queue.
    public typealias Persistence = DeliveryPersistence

    /// What can be done about it.
    public typealias Recovery = DeliveryRecovery

    /// What happened.
    public let kind: Kind

    /// Whether the message may be stored; nil where the error is not about a message.
    public let persistence: Persistence?

    /// What can be done about it.
    public let recovery: Recovery

    /// What happened, in a sentence for a person. Passwords never appear in it.
    public let reason: String

    /// AMQP's reply code, such as 404; nil where the broker did not give one.
    public let code: Int?

    /// A message that came back.
    public struct Returned: Sendable, Hashable {
        /// AMQP's reply code: 312 where no queue is bound for the routing key.
        public let code: Int
        /// The broker's text.
        public let text: String
        /// What was sent.
        public let message: RabbitMessage
    }

    /// Holds the message out of line, so that a result stays small.
    private indirect enum Box: Sendable, Hashable {
        case returned(Returned)
    }

    private let box: Box?

    /// The message that came back, for ``Kind/returned``.
    public var returned: Returned? {
        if case .returned(let returned) = box { returned } else { nil }
    }

    init(
        _ kind: Kind,
        persistence: Persistence? = nil,
        recovery: Recovery,
        reason: String,
        code: Int? = nil,
        returned: Returned? = nil
    ) {
        self.kind = kind
        self.persistence = persistence
        self.recovery = recovery
        self.reason = reason
        self.code = code
        self.box = returned.map { .returned($0) }
    }

    /// The same, said of a message.
    func about(_ persistence: Persistence, recovery: Recovery? = nil) -> RabbitError {
        RabbitError(
            kind,
            persistence: persistence,
            recovery: recovery ?? self.recovery,
            reason: reason,
            code: code,
            returned: returned
        )
    }
}

extension RabbitError: CustomStringConvertible {
    /// What to do, what happened, and AMQP's number for it.
    public var description: String {
        sentences(isCancelled: kind == .cancelled, isClosed: kind == .closed)
            + (code.map { " (AMQP: \($0))" } ?? "")
    }
}

extension RabbitError {
    static func closed(persistence: Persistence? = .notPersisted) -> RabbitError {
        RabbitError(.closed, persistence: persistence, recovery: .recreateClient, reason: "the client is closed")
    }

    static func cancelled(persistence: Persistence?) -> RabbitError {
        RabbitError(.cancelled, persistence: persistence, recovery: .retry, reason: "the calling task was cancelled")
    }

    static func invalidArgument(_ reason: String, persistence: Persistence? = .notPersisted) -> RabbitError {
        RabbitError(.invalidArgument, persistence: persistence, recovery: .fixRequest, reason: reason)
    }

    static func invalidConfiguration(_ reason: String) -> RabbitError {
        RabbitError(.invalidConfiguration, recovery: .fixRequest, reason: reason)
    }

    static func connectionLost(_ reason: String) -> RabbitError {
        RabbitError(.connectionLost, recovery: .retry, reason: reason)
    }

    static func protocolViolation(_ reason: String) -> RabbitError {
        RabbitError(.protocolViolation, recovery: .retry, reason: reason)
    }

    /// What the broker means by a reply code of `channel.close` or `connection.close` (AMQP 0-9-1, 1.2 "Constants").
    static func reply(_ code: Int, _ text: String, closing scope: Kind) -> RabbitError {
        let (kind, recovery): (Kind, Recovery) =
            switch code {
            case 403: (.authorization, .fixRequest)
            case 404 where isAbsent(text): (scope, .retry)
            case 404: (.notFound, .fixRequest)
            case 405: (.resourceLocked, .fixRequest)
            case 406 where text.contains("inequivalent arg"): (.topologyMismatch, .fixRequest)
            case 406, 311, 320, 504, 506, 541: (scope, .retry)
            case 402: (.notFound, .fixRequest)
            // A virtual host or a user has its maximum of connections, half-open ones of ours among them.
            case 530 where text.contains("limit"): (scope, .retry)
            case 530: (.authorization, .fixRequest)
            default: (.broker, .retry)
            }
        return RabbitError(kind, recovery: recovery, reason: "the broker says \(text)", code: code)
    }

    /// Whether the broker speaks of a queue that is there and cannot be reached just now, which it says with 404 too
    /// (`rabbit_amqqueue:priv_absent`): its node is down, its process ends, was stopped, has crashed or does not answer.
    private static func isAbsent(_ text: String) -> Bool {
        [
            "is down or inaccessible", "process is stopped by supervisor", "has crashed and failed to restart",
            "failed to perform operation on",
        ].contains { text.contains($0) }
    }

    /// The same while a channel is set up: what is refused there is refused again, but for what a broker says
    /// that goes down or comes up.
    ///
    /// - Parameter isResuming: Whether the client had the same a short while ago. Then an exclusive queue or consumer may be taken by its
    ///   own former connection, until the broker notices that it is gone.
    static func setupReply(_ code: Int, _ text: String, closing scope: Kind, isResuming: Bool = false) -> RabbitError {
        let error = reply(code, text, closing: scope)
        switch code {
        case 405 where isResuming, 403 where isResuming && text.contains("exclusive"):
            return RabbitError(error.kind, recovery: .retry, reason: error.reason, code: code)
        case 406 where error.kind == scope, 501...503, 540:
            return RabbitError(.topologyMismatch, recovery: .fixRequest, reason: error.reason, code: code)
        default: return error
        }
    }
}
