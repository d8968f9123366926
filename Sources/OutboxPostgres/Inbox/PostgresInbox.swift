public import OutboxDelivery

/// Offsets and idempotency keys of what was consumed, in the PostgreSQL database that has its effects.
///
/// ```swift
/// let inbox = try PostgresInbox(.init(LibpqSettings("postgres://shop@db/shop"), consumer: "projection"))
/// try await inbox.migrate()
/// configuration.begin(at: inbox)
/// try await KafkaConsumer(configuration).forEach(inbox: inbox) { delivery, transaction in
///     try await transaction.query(OutboxStatement("INSERT INTO tasks …", […]))         // once for each message
/// }
/// ```
///
/// Each partition that is handled has a transaction, and so a connection, up to ``Configuration/maximumConnections``; others wait. They
/// may lead through a pooler such as PgBouncer: what the inbox sets there ends with each transaction.
public final class PostgresInbox: AsyncInbox {
    /// The settings of an inbox in PostgreSQL.
    public struct Configuration: Sendable, Hashable {
        /// How to connect.
        public var connection: LibpqSettings

        /// Whose offsets these are: the group's name, usually. 1 to 255 bytes.
        public var consumer: String

        /// The schema that the tables are in; nil for where the connection looks first.
        public var schema: String?

        /// What the names of its tables begin with; see ``OutboxTable``.
        public var prefix = "inbox"

        /// How many transactions, and so connections, at a time; 1 to 1,000.
        public var maximumConnections = 8

        /// After how long the server ends the session of a transaction that stands still (`idle_in_transaction_session_timeout`), and a
        /// statement's wait for another one's lock (`lock_timeout`), both for each transaction of the inbox: 1 second to a day. For as long
        /// as a member of the group stands still inside of a transaction the partition's next owner waits for it. Longer than any handler
        /// waits between two statements.
        public var transactionTimeout: Duration = .seconds(30)

        /// How long idempotency keys are remembered, which has to be longer than any message may be sent again: a redrive's age,
        /// an outbox's outage. A minute to a century; forgotten a few at a time, with new messages. Each consumer has a memory of its
        /// own: that of one that is no more stays until its rows are deleted.
        public var rememberFor: Duration = .seconds(7 * 86_400)

        /// Settings for a connection and a consumer.
        public init(_ connection: LibpqSettings, consumer: String) {
            self.connection = connection
            self.consumer = consumer
        }
    }

    /// Whose offsets these are.
    public var consumer: String { configuration.consumer }

    private let configuration: Configuration
    private let table: OutboxTable
    private let pool: LibpqPool
    /// Run first in each transaction, so that a member that stands still, or whose host is gone, holds a partition's row for no longer
    /// than that. Until its end only: a pooler gives the session to others, and each transaction another one.
    private let limits: OutboxStatement

    /// An inbox. Connects to nothing yet.
    ///
    /// - Throws: ``OutboxError`` of the kind `invalidConfiguration`.
    public init(_ configuration: Configuration) throws(OutboxError) {
        let consumer = configuration.consumer
        guard !consumer.isEmpty, consumer.utf8.count <= 255, !consumer.utf8.contains(0) else {
            throw .invalidConfiguration("name the inbox's consumer with 1 to 255 bytes without a NUL character")
        }
        guard configuration.rememberFor >= .seconds(60), configuration.rememberFor <= .seconds(36_500 * 86_400) else {
            throw .invalidConfiguration(
                "rememberFor is \(configuration.rememberFor), and has to be a minute to a century"
            )
        }
        guard (1...1_000).contains(configuration.maximumConnections) else {
            throw .invalidConfiguration(
                "maximumConnections is \(configuration.maximumConnections), and has to be 1 to 1000"
            )
        }
        guard configuration.transactionTimeout >= .seconds(1), configuration.transactionTimeout <= .seconds(86_400)
        else {
            throw .invalidConfiguration(
                "transactionTimeout is \(configuration.transactionTimeout), and has to be a second to a day"
            )
        }
        table = try OutboxTable(.postgresql, schema: configuration.schema, prefix: configuration.prefix)
        self.configuration = configuration
        let timeout = String(Int64((configuration.transactionTimeout / .milliseconds(1)).rounded()))
        limits = OutboxStatement(
            "SELECT set_config('idle_in_transaction_session_timeout', $1, true), set_config('lock_timeout', $1, true)",
            [.text(timeout)]
        )
        pool = LibpqPool(configuration.connection, maximum: configuration.maximumConnections) { backend in
            Self.preparation(timeout, backend: backend)
        }
    }

    /// Settings of a session whose server's end is not this client's, but a host's that may be gone: its connection counts as dead after that
    /// time too, and the server looks at the client while a statement waits, so that the server's process ends with it (Linux only, so by
    /// itself). Behind a pooler, which names a process of its own making, they would be the pooler's, and are not set.
    private static func preparation(_ timeout: String, backend: Int32) -> [OutboxStatement] {
        [("tcp_user_timeout", timeout), ("client_connection_check_interval", "5000")].map { name, value in
            OutboxStatement(
                "SELECT set_config($1, $2, false) WHERE pg_backend_pid() = $3",
                [.text(name), .text(value), .integer(Int64(backend))]
            )
        }
    }

    /// Runs a transaction on a connection of its own, with its time-outs.
    private func withTransaction<Value>(
        _ body: (LibpqConnection.Transaction) async throws -> sending Value
    ) async throws -> sending Value {
        try await pool.withConnection { connection in
            try await connection.withTransaction { transaction in
                try await transaction.query(limits)
                return try await body(transaction)
            }
        }
    }

    /// The statements that make the tables, for migrators of the service's own: to be run in one transaction, in order.
    ///
    /// - Parameter version: The version that the tables have; 0 where there are none.
    public func migrations(from version: Int = 0) -> [String] {
        let steps = [
            [
                "CREATE TABLE \(table.name("_schema")) (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp())",
                """
                CREATE TABLE \(table.name("_offset")) (
                    consumer text NOT NULL, topic text NOT NULL, part integer NOT NULL, next bigint NOT NULL,
                    PRIMARY KEY (consumer, topic, part)
                )
                """,
                """
                CREATE TABLE \(table.name("_seen")) (
                    consumer text NOT NULL, key bytea NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(),
                    PRIMARY KEY (consumer, key)
                )
                """,
                "CREATE INDEX \(table.quoted(table.prefix + "_seen_at")) ON \(table.name("_seen")) (at)",
            ],
            // Each consumer forgets its own keys.
            [
                "DROP INDEX \(table.name("_seen_at"))",
                "CREATE INDEX \(table.quoted(table.prefix + "_seen_at")) ON \(table.name("_seen")) (consumer, at)",
            ],
        ]
        return steps.enumerated().filter { $0.offset >= version }.flatMap { index, statements in
            statements + ["INSERT INTO \(table.name("_schema")) (version) VALUES (\(index + 1))"]
        }
    }

    /// The newest version.
    private static let version: Int64 = 2

    /// Makes the tables, or brings them to this library's version, in one transaction. Several processes may.
    ///
    /// - Returns: The numbers of the migrations that were run.
    @discardableResult
    public func migrate() async throws -> [Int] {
        try await withTransaction { transaction in
            // One at a time: CREATE TABLE IF NOT EXISTS of two sessions may fail.
            let lock = OutboxStatement(
                "SELECT pg_advisory_xact_lock(hashtext($1))",
                [.text(self.table.name("_schema"))]
            )
            try await transaction.query(lock)
            let version = try await self.version(transaction)
            guard version <= Self.version else { throw Self.schemaError(version) }
            for statement in self.migrations(from: Int(version)) {
                try await transaction.query(OutboxStatement(statement))
            }
            return Array((Int(version) + 1)..<(Int(Self.version) + 1))
        }
    }

    private func version(_ transaction: LibpqConnection.Transaction) async throws(OutboxError) -> Int64 {
        let name = table.name("_schema")
        let found = try await transaction.query(OutboxStatement("SELECT to_regclass($1) IS NOT NULL", [.text(name)]))
        guard found.boolean(0, 0) == true else { return 0 }
        return try await transaction.query(OutboxStatement("SELECT coalesce(max(version), 0)::bigint FROM \(name)"))
            .integer(0, 0) ?? 0
    }

    private static func schemaError(_ version: Int64) -> OutboxError {
        OutboxError(
            kind: .schemaVersion,
            persistence: .notPersisted,
            recovery: .fixRequest,
            reason: version == 0
                ? "the inbox's tables are not there: migrate first"
                : "the inbox's tables have version \(version), and this library needs \(Self.version)"
        )
    }

    /// The offset of the next message of a partition; nil where none was stored.
    ///
    /// - Throws: ``OutboxError``: `schemaVersion` where the tables are not there; the database's error.
    public func nextOffset(of place: InboxPlace) async throws(OutboxError) -> Int64? {
        do {
            return try await withTransaction { transaction in
                let version = try await self.version(transaction)
                guard version == Self.version else { throw Self.schemaError(version) }
                return try await self.next(place, transaction)
            }
        } catch let error as OutboxError {
            throw error
        } catch {
            throw LibpqFailure.cancelled
        }
    }

    private func next(_ place: InboxPlace, _ transaction: LibpqConnection.Transaction) async throws(OutboxError)
        -> Int64?
    {
        try await transaction.query(
            OutboxStatement(
                "SELECT next FROM \(table.name("_offset")) WHERE consumer = $1 AND topic = $2 AND part = $3 FOR UPDATE",
                [.text(consumer), .text(place.topic), .integer(Int64(place.partition))]
            )
        ).integer(0, 0)
    }

    /// Runs `effect` in a transaction that also stores the messages' offset and keys, unless there is nothing new among them.
    ///
    /// Where the server did not answer whether the transaction is committed (`possiblyPersisted`) the same call again finds out: there is no
    /// second effect.
    @discardableResult
    public func receive(
        _ messages: [InboxMessage],
        _ effect: @escaping @Sendable (LibpqConnection.Transaction, [Int]) async throws -> Void
    ) async throws -> [Int] {
        guard let place = try place(of: messages), let last = messages.last else { return [] }
        return try await withTransaction { transaction in
            // The row is locked: a member that has lost the partition waits here for the new owner's commit, or the other way round, and
            // then finds the offset moved.
            var next = try await self.next(place, transaction)
            var isMoved = false
            if next == nil {
                isMoved = try await self.isFirst(of: place, last.offset, transaction)
                // Another member was first, and has committed.
                if !isMoved { next = try await self.next(place, transaction) }
            }
            guard last.offset >= next ?? .min else { return [] }
            if !isMoved { try await self.move(place, to: last.offset + 1, transaction) }
            let new = try await self.note(messages, from: next ?? .min, transaction)
            if !new.isEmpty { try await effect(transaction, new) }
            return new
        }
    }

    /// Stores a partition's first offset.
    ///
    /// - Returns: Whether it was the first; otherwise nothing has changed.
    private func isFirst(
        of place: InboxPlace,
        _ offset: Int64,
        _ transaction: LibpqConnection.Transaction
    ) async throws(OutboxError) -> Bool {
        try await transaction.query(
            OutboxStatement(
                """
                INSERT INTO \(table.name("_offset")) (consumer, topic, part, next) VALUES ($1, $2, $3, $4)
                ON CONFLICT DO NOTHING
                """,
                [.text(consumer), .text(place.topic), .integer(Int64(place.partition)), .integer(offset + 1)]
            )
        ).affected == 1
    }

    /// Moves a partition's offset.
    ///
    /// - Throws: ``OutboxError``: `fenced` where there is no row to move, so that no effect is stored without its offset.
    private func move(
        _ place: InboxPlace,
        to next: Int64,
        _ transaction: LibpqConnection.Transaction
    ) async throws(OutboxError) {
        let moved = try await transaction.query(
            OutboxStatement(
                "UPDATE \(table.name("_offset")) SET next = $4 WHERE consumer = $1 AND topic = $2 AND part = $3",
                [.text(consumer), .text(place.topic), .integer(Int64(place.partition)), .integer(next)]
            )
        )
        guard moved.affected == 1 else { throw .offsetNotMoved(of: place) }
    }

    /// Notes the keys of messages, and forgets two old ones for each.
    ///
    /// - Returns: The indices of those that are new.
    private func note(
        _ messages: [InboxMessage],
        from next: Int64,
        _ transaction: LibpqConnection.Transaction
    ) async throws(OutboxError) -> [Int] {
        var new: [Int] = []
        let seconds = configuration.rememberFor.components.seconds
        for (index, message) in messages.enumerated() where message.offset >= next {
            if let key = message.idempotencyKey {
                let seen = table.name("_seen")
                let noted = try await transaction.query(
                    OutboxStatement(
                        """
                        WITH forgotten AS (
                            DELETE FROM \(seen) WHERE (consumer, key) IN (
                                SELECT consumer, key FROM \(seen)
                                WHERE consumer = $1 AND at < clock_timestamp() - $3 * interval '1 second'
                                ORDER BY at LIMIT 2 FOR UPDATE SKIP LOCKED))
                        INSERT INTO \(seen) (consumer, key) VALUES ($1, $2) ON CONFLICT DO NOTHING
                        """,
                        [.text(consumer), .bytes(key), .integer(seconds)]
                    )
                )
                if noted.affected != 1 { continue }
            }
            new.append(index)
        }
        return new
    }

    /// Closes the connections; what is being received ends first.
    public func close() async {
        await pool.close()
    }
}
