public import DeliveryCore

/// What went wrong between an outbox and its database.
public struct OutboxError: DeliveryError, Sendable, Hashable {
    /// What happened. More kinds may be added, so switch with a `default`.
    public enum Kind: String, Sendable, Hashable {
        /// A message cannot be stored, or a stored one cannot be read.
        case invalidMessage
        /// A setting is out of range or contradicts another, or the database is set up in a way that breaks a promise: `CACHE` of
        /// the id's sequence above 1, SQLite's `synchronous` below FULL.
        case invalidConfiguration
        /// The outbox's tables are not there, or of another version than this library's.
        case schemaVersion
        /// The database cannot be reached, or the connection is gone.
        case unavailable
        /// The database did not answer in time.
        case timedOut
        /// The session that owned the slots is gone, and another publisher may own them: what this one does counts no more. Of an inbox:
        /// the row of the partition's offset is gone, and nothing was changed.
        case fenced
        /// The database answered with an error; `code` names it.
        case database
        /// It was closed.
        case closed
        /// The calling task was cancelled.
        case cancelled
    }

    /// What happened.
    public let kind: Kind

    /// Whether what was asked for may be done all the same; nil where the error is not about a statement.
    public let persistence: DeliveryPersistence?

    /// What can be done about it.
    public let recovery: DeliveryRecovery

    /// What happened, in a sentence for a person. No value of a row and no password is in it.
    public let reason: String

    /// The database's own code: PostgreSQL's SQLSTATE, SQLite's extended result code.
    public let code: String?

    /// An error.
    public init(
        kind: Kind,
        persistence: DeliveryPersistence?,
        recovery: DeliveryRecovery,
        reason: String,
        code: String? = nil
    ) {
        self.kind = kind
        self.persistence = persistence
        self.recovery = recovery
        self.reason = reason
        self.code = code
    }

    /// What to do, what happened, whether it may be done all the same, and the database's code.
    public var description: String {
        let sentences = sentences(
            isCancelled: kind == .cancelled,
            isClosed: kind == .closed,
            notPersisted: "Nothing was changed.",
            possiblyPersisted: "It may be done all the same."
        )
        return sentences + (code.map { " (database: \($0))" } ?? "")
    }

    /// The error of a message that cannot be stored or read.
    public static func invalidMessage(_ why: String) -> OutboxError {
        OutboxError(
            kind: .invalidMessage,
            persistence: .notPersisted,
            recovery: .fixRequest,
            reason: why
        )
    }

    /// The error of a setting that cannot be.
    public static func invalidConfiguration(_ reason: String) -> OutboxError {
        OutboxError(kind: .invalidConfiguration, persistence: nil, recovery: .fixRequest, reason: reason)
    }

    /// Why a publisher gives its slots up.
    static let stuck = OutboxError(
        kind: .unavailable,
        persistence: nil,
        recovery: .retry,
        reason:
            "slots are given up to other publishers: a batch had no outcome within batchTimeout, and nothing of it arrived"
    )
}
