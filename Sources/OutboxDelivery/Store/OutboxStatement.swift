/// A statement with its bound values, for whatever client runs the service's transaction. No value is ever part of the text.
public struct OutboxStatement: Sendable, Hashable {
    /// The SQL, with `$1`, `$2`, … for PostgreSQL, `?1`, `?2`, … for SQLite and `?` for MySQL.
    public var text: String

    /// What is bound, in order.
    public var values: [OutboxValue]

    /// A statement.
    public init(_ text: String, _ values: [OutboxValue] = []) {
        self.text = text
        self.values = values
    }
}

/// A value that is bound to a statement.
public enum OutboxValue: Sendable, Hashable {
    /// NULL.
    case null
    /// `text`.
    case text(String)
    /// `bytea`, `BLOB`.
    case bytes([UInt8])
    /// `bigint`, `INTEGER`.
    case integer(Int64)
}
