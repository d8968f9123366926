internal import CPostgreSQL
internal import OutboxDelivery

/// libpq's and the server's errors as ``OutboxError``.
enum LibpqFailure {
    /// The error of a statement that the server refused: it changed nothing.
    static func statement(_ result: OpaquePointer) -> OutboxError {
        let code = field(result, outbox_diag_sqlstate) ?? ""
        let primary = field(result, outbox_diag_message) ?? "no message"
        // libpq's own: the connection is gone.
        if code.isEmpty { return connection(primary, persistence: .possiblyPersisted) }
        return error(code: code, message: primary, persistence: persistence(code))
    }

    /// The server's message that it ends the session, as its notice tells it where nothing is under way.
    static func fatal(_ result: OpaquePointer) -> OutboxError? {
        guard let severity = field(result, outbox_diag_severity), severity == "FATAL" || severity == "PANIC" else {
            return nil
        }
        return statement(result)
    }

    static func error(code: String, message: String, persistence: DeliveryPersistence?) -> OutboxError {
        // A value of the caller's is in the server's text for what it could not convert, and what broke a constraint.
        let mayQuote = code.hasPrefix("22") || code.hasPrefix("23")
        let reason = mayQuote ? "PostgreSQL refused a value" : "PostgreSQL says: \(message)"
        return OutboxError(
            kind: kind(code),
            persistence: persistence,
            recovery: recovery(code),
            reason: reason,
            code: code.isEmpty ? nil : code
        )
    }

    /// The task was cancelled before anything was done for good.
    static let cancelled = OutboxError(
        kind: .cancelled,
        persistence: .notPersisted,
        recovery: .retry,
        reason: "the task was cancelled"
    )

    /// The connection is gone, or was never there.
    static func connection(_ message: String, persistence: DeliveryPersistence?) -> OutboxError {
        OutboxError(
            kind: .unavailable,
            persistence: persistence,
            recovery: .retry,
            reason: "no connection to PostgreSQL: \(message)"
        )
    }

    /// What libpq says about a connection, in one line. It names host, port, user and database, and no secret.
    static func message(_ connection: OpaquePointer?) -> String {
        let text = String(cString: PQerrorMessage(connection))
        let lines = text.split(whereSeparator: \.isNewline).map { $0.drop(while: \.isWhitespace) }
        return lines.joined(separator: "; ")
    }

    private static func kind(_ code: String) -> OutboxError.Kind {
        switch code {
        case "57014": .timedOut
        case "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "53300": .unavailable
        default: code.hasPrefix("08") ? .unavailable : .database
        }
    }

    /// A statement that ended with an error was rolled back; but for these, of which PostgreSQL does not know.
    private static func persistence(_ code: String) -> DeliveryPersistence {
        code == "40003" || code == "08007" ? .possiblyPersisted : .notPersisted
    }

    /// What may be different the next time: a server that starts or stops, resources, deadlocks, serialization, time-outs.
    private static func recovery(_ code: String) -> DeliveryRecovery {
        switch code.prefix(2) {
        case "08", "40", "53", "55", "57", "58": .retry
        case "25": .abortTransaction
        default: .fixRequest
        }
    }

    private static func field(_ result: OpaquePointer, _ field: Int32) -> String? {
        PQresultErrorField(result, field).map { String(cString: $0) }
    }
}
