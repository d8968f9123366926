@_exported public import DeliveryCore

/// Why an HTTP request was not carried out, or may not have been.
public struct HTTPDeliveryError: DeliveryError, Hashable {
    /// What kind of failure it is. More may be added: a `switch` needs a `default`.
    public struct Kind: Sendable, Hashable, CustomStringConvertible {
        /// The kind's name.
        public let description: String

        /// The server answered, and will answer the same again: 3xx (redirects are not followed) and most of 4xx.
        public static let rejected = Kind(description: "rejected")
        /// The server answered that there is nothing at this address: 404 and 410.
        public static let unroutable = Kind(description: "unroutable")
        /// The server answered that it cannot now: 408, 425, 429 and 5xx.
        public static let unavailable = Kind(description: "unavailable")
        /// No connection came about: refused, not resolved, TLS failed.
        public static let notConnected = Kind(description: "notConnected")
        /// A time-out passed before the answer began.
        public static let timedOut = Kind(description: "timedOut")
        /// The connection ended before the answer began, or what came was not HTTP.
        public static let connectionLost = Kind(description: "connectionLost")
        /// The message cannot be sent as it is, or the configuration cannot be used.
        public static let invalidMessage = Kind(description: "invalidMessage")
        /// The task was cancelled.
        public static let cancelled = Kind(description: "cancelled")
        /// The destination is closed.
        public static let closed = Kind(description: "closed")
    }

    /// What kind of failure it is.
    public let kind: Kind

    /// Whether the server may have carried the request out. After an answer of 5xx but 501 and 505 it may: the failure can have come
    /// later than the change, and a proxy that answers 503 may have lost the server behind it after the request.
    public let persistence: DeliveryPersistence?

    /// What can be done about it.
    public let recovery: DeliveryRecovery

    /// What happened, in a sentence. Neither headers nor bodies appear in it, and of addresses only the origin.
    public let reason: String

    /// The answer, where there was one.
    public let response: HTTPResponse?

    /// How long the server asked to be left alone (`Retry-After`, RFC 9110, section 10.2.3), at most the destination's
    /// `maximumRetryAfter`.
    public let retryAfter: Duration?

    /// An error, for a destination of a test's own.
    public init(
        _ kind: Kind,
        persistence: DeliveryPersistence?,
        recovery: DeliveryRecovery,
        reason: String,
        response: HTTPResponse? = nil,
        retryAfter: Duration? = nil
    ) {
        self.kind = kind
        self.persistence = persistence
        self.recovery = recovery
        self.reason = reason
        self.response = response
        self.retryAfter = retryAfter
    }

    /// What to do, what happened, and whether the request may have been carried out.
    public var description: String {
        sentences(
            isCancelled: kind == .cancelled,
            isClosed: kind == .closed,
            notPersisted: "The request was not carried out.",
            possiblyPersisted: "The request may have been carried out."
        )
    }
}

extension HTTPDeliveryError {
    static func invalid(_ reason: String) -> HTTPDeliveryError {
        HTTPDeliveryError(.invalidMessage, persistence: .notPersisted, recovery: .fixRequest, reason: reason)
    }

    static func closed(_ persistence: DeliveryPersistence, _ reason: String) -> HTTPDeliveryError {
        HTTPDeliveryError(.closed, persistence: persistence, recovery: .recreateClient, reason: reason)
    }

    static func cancelled(_ persistence: DeliveryPersistence) -> HTTPDeliveryError {
        HTTPDeliveryError(.cancelled, persistence: persistence, recovery: .retry, reason: "the task was cancelled")
    }
}
