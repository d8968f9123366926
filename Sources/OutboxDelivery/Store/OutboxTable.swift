/// The names of an outbox's tables, and the statements with which services write to it.
///
/// ```swift
/// let table = try OutboxTable(.postgresql)
/// let statement = try table.insert(OutboxMessage(topic: "orders", key: "42", payload: bytes))
/// try await connection.query(PostgresQuery(unsafeSQL: statement.text, binds: …), logger: logger)
/// ```
public struct OutboxTable: Sendable, Hashable {
    /// Whose SQL it is.
    public enum Dialect: String, Sendable, Hashable {
        /// PostgreSQL 12 or newer.
        case postgresql
        /// SQLite 3.37 or newer.
        case sqlite
        /// MySQL 8 or newer.
        case mysql
    }

    /// Whose SQL it is.
    public let dialect: Dialect

    /// The schema (PostgreSQL), the attached database (SQLite) or the database (MySQL) that the tables are in; nil for where
    /// the connection looks first.
    public let schema: String?

    /// What all names begin with: `outbox` by default, for `outbox`, `outbox_parked`, `outbox_inflight` and `outbox_schema`.
    public let prefix: String

    /// The names of an outbox.
    ///
    /// - Parameters:
    ///   - dialect: Whose SQL it is.
    ///   - schema: Where the tables are; nil for where the connection looks first.
    ///   - prefix: What all names begin with; 1 to 40 bytes. Any character is allowed but NUL: names are quoted.
    /// - Throws: ``OutboxError`` of kind `invalidConfiguration`.
    public init(_ dialect: Dialect, schema: String? = nil, prefix: String = "outbox") throws(OutboxError) {
        for name in [prefix, schema ?? "public"] where name.isEmpty || name.utf8.count > 40 || name.utf8.contains(0) {
            throw .invalidConfiguration("choose a schema and a prefix of 1 to 40 bytes without a NUL character")
        }
        self.dialect = dialect
        self.schema = schema
        self.prefix = prefix
    }

    /// A table's name, quoted and with its schema: `"outbox_parked"` for `_parked`.
    public func name(_ suffix: String = "") -> String {
        (schema.map { quoted($0) + "." } ?? "") + quoted(prefix + suffix)
    }

    /// A name, quoted.
    public func quoted(_ name: String) -> String {
        let mark = dialect == .mysql ? "`" : "\""
        // By bytes: a mark with a combining character behind it is one mark all the same.
        guard let byte = mark.utf8.first, name.utf8.contains(byte) else { return mark + name + mark }
        let parts = name.utf8.split(separator: byte, omittingEmptySubsequences: false)
        return mark + parts.map { String(decoding: $0, as: UTF8.self) }.joined(separator: mark + mark) + mark
    }

    /// A place for the value with a number from 1 on.
    public func placeholder(_ number: Int) -> String {
        switch dialect {
        case .postgresql: "$\(number)"
        case .sqlite: "?\(number)"
        case .mysql: "?"
        }
    }

    /// The columns that a service writes, in the order of ``values(of:)``.
    static let columns = "idempotency_key, destination, topic, key, payload, headers"

    /// The statement that stores a message, to be run in the transaction that also changes the business row, after that change.
    ///
    /// - Throws: ``OutboxError`` of kind `invalidMessage`.
    public func insert(_ message: OutboxMessage) throws(OutboxError) -> OutboxStatement {
        try insert([message])
    }

    /// The statement that stores several messages, in order.
    ///
    /// - Parameter messages: 1 to 1,000; PostgreSQL and SQLite bind at most 32,766 values, MySQL 65,535.
    /// - Throws: ``OutboxError`` of kind `invalidMessage`, also where there is none or too many.
    public func insert(_ messages: [OutboxMessage]) throws(OutboxError) -> OutboxStatement {
        guard !messages.isEmpty, messages.count <= 1_000 else { throw .invalidMessage("insert 1 to 1,000 at a time") }
        var values: [OutboxValue] = []
        var rows: [String] = []
        for message in messages {
            let (row, bound) = try row(message, from: values.count + 1)
            rows.append(row)
            values += bound
        }
        let columns =
            dialect == .postgresql ? Self.columns : "slot, " + (dialect == .mysql ? mysqlColumns : Self.columns)
        return OutboxStatement("INSERT INTO \(name()) (\(columns)) VALUES \(rows.joined(separator: ", "))", values)
    }

    /// One statement that makes the business change and stores its message: with PostgreSQL the cheapest form, which costs
    /// the transaction no round trip.
    ///
    /// ```swift
    /// let statement = try table.insert(message, with: OutboxStatement(
    ///     "UPDATE orders SET state = $1 WHERE id = $2 AND state = $3 RETURNING id",
    ///     [.text("paid"), .text("42"), .text("new")]
    /// ))
    /// ```
    ///
    /// The message is stored once for each row that the change returns: none where it changed nothing, so that an order that
    /// was paid before is not told again. Where the change touches several rows, give each its own statement: each row
    /// would store the same message, with the same idempotency key.
    ///
    /// - Parameters:
    ///   - message: What is stored.
    ///   - change: The business change, an `INSERT`, `UPDATE` or `DELETE` that ends with `RETURNING`; its text is the
    ///     service's own SQL and is taken as it is.
    /// - Throws: ``OutboxError`` of kind `invalidMessage`; `invalidConfiguration` where the dialect is not PostgreSQL's.
    public func insert(_ message: OutboxMessage, with change: OutboxStatement) throws(OutboxError) -> OutboxStatement {
        guard dialect == .postgresql else {
            throw .invalidConfiguration("use two statements in one transaction: only PostgreSQL changes data in WITH")
        }
        try message.validate()
        let first = change.values.count + 1
        let places =
            "$\(first)::text, $\(first + 1)::text, $\(first + 2)::text, $\(first + 3)::bytea, $\(first + 4)::bytea, "
            + "$\(first + 5)::text::jsonb"
        return OutboxStatement(
            "WITH change AS (\(change.text)) INSERT INTO \(name()) (\(Self.columns)) SELECT \(places) FROM change",
            change.values + Self.values(of: message)
        )
    }

    private var mysqlColumns: String { "idempotency_key, destination, topic, `key`, payload, headers" }

    private func row(_ message: OutboxMessage, from first: Int) throws(OutboxError) -> (String, [OutboxValue]) {
        try message.validate()
        var values = Self.values(of: message)
        // PostgreSQL makes the slot itself, from a generated column.
        if dialect != .postgresql { values.insert(.integer(Int64(OutboxSlot.of(message))), at: 0) }
        var names = values.indices.map { placeholder(first + $0) }
        // Clients that send a value's type, as PostgresNIO does, bind a text, which PostgreSQL does not take for jsonb by itself.
        if dialect == .postgresql { names[names.count - 1] += "::text::jsonb" }
        let places = names.joined(separator: ", ")
        return ("(\(places))", values)
    }

    private static func values(of message: OutboxMessage) -> [OutboxValue] {
        [
            .text(message.idempotencyKey),
            .text(message.destination),
            .text(message.topic),
            message.key.map { .bytes($0) } ?? .null,
            message.payload.map { .bytes($0) } ?? .null,
            .text(OutboxHeaderCoding.encode(message.headers, attributes: message.attributes)),
        ]
    }
}
