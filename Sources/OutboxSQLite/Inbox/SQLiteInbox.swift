#if SQLite
    public import GRDB
    public import OutboxDelivery

    /// Offsets and idempotency keys of what was consumed, in the SQLite database that has its effects.
    ///
    /// ```swift
    /// let inbox = try SQLiteInbox(database, consumer: "projection")
    /// try await inbox.migrate()
    /// var configuration = KafkaConsumer.Configuration(bootstrapServers: brokers, group: "projection", topics: ["tasks"])
    /// configuration.begin(at: inbox)
    /// try await KafkaConsumer(configuration).forEach(inbox: inbox) { delivery, db in
    ///     try Projection(delivery).save(db)                       // once for each message
    /// }
    /// ```
    ///
    /// Where a power cut takes back the last commits (`synchronous = NORMAL`), it takes effects and offsets back together, and the
    /// messages come again: an inbox needs no other setting than the effects do. An outbox in the same transaction does.
    public struct SQLiteInbox: Inbox {
        /// The settings of an inbox in SQLite.
        public struct Configuration: Sendable, Hashable {
            /// What the names of its tables begin with; see ``OutboxTable``.
            public var prefix = "inbox"

            /// How long idempotency keys are remembered, which has to be longer than any message may be sent again: a redrive's
            /// age, an outbox's outage. A minute or more; forgotten a few at a time, with new messages. Each consumer has a memory of
            /// its own: that of one that is no more stays until its rows are deleted.
            public var rememberFor: Duration = .seconds(7 * 86_400)

            /// The default settings.
            public init() {}
        }

        /// Whose offsets these are.
        public let consumer: String

        private let database: any DatabaseWriter
        private let table: OutboxTable
        private let rememberFor: Int64

        /// An inbox in a database.
        ///
        /// - Parameters:
        ///   - database: The connection with which effects are made.
        ///   - consumer: The group's name, usually: offsets and keys are its own. 1 to 255 bytes.
        ///   - configuration: The settings.
        /// - Throws: ``OutboxError`` of the kind `invalidConfiguration`.
        public init(
            _ database: any DatabaseWriter,
            consumer: String,
            _ configuration: Configuration = Configuration()
        ) throws(OutboxError) {
            guard !consumer.isEmpty, consumer.utf8.count <= 255, !consumer.utf8.contains(0) else {
                throw .invalidConfiguration("name the inbox's consumer with 1 to 255 bytes without a NUL character")
            }
            guard configuration.rememberFor >= .seconds(60), configuration.rememberFor <= .seconds(36_500 * 86_400)
            else {
                throw .invalidConfiguration(
                    "rememberFor is \(configuration.rememberFor), and has to be a minute to a century"
                )
            }
            self.consumer = consumer
            self.database = database
            table = try OutboxTable(.sqlite, prefix: configuration.prefix)
            rememberFor = configuration.rememberFor.milliseconds
        }

        private var schema: SQLiteSchema {
            SQLiteSchema(
                what: "inbox",
                table: table,
                steps: [
                    [
                        """
                        CREATE TABLE \(table.name("_offset")) (
                        consumer TEXT NOT NULL,
                        topic TEXT NOT NULL,
                        part INTEGER NOT NULL,
                        next INTEGER NOT NULL,
                        PRIMARY KEY (consumer, topic, part)
                        ) STRICT, WITHOUT ROWID
                        """,
                        """
                        CREATE TABLE \(table.name("_seen")) (
                        consumer TEXT NOT NULL,
                        key BLOB NOT NULL,
                        at INTEGER NOT NULL DEFAULT (\(Database.now)),
                        PRIMARY KEY (consumer, key)
                        ) STRICT, WITHOUT ROWID
                        """,
                        "CREATE INDEX \(table.quoted(table.prefix + "_seen_at")) ON \(table.name("_seen")) (at)",
                    ],
                    // Each consumer forgets its own keys.
                    [
                        "DROP INDEX \(table.quoted(table.prefix + "_seen_at"))",
                        "CREATE INDEX \(table.quoted(table.prefix + "_seen_at")) ON \(table.name("_seen")) (consumer, at)",
                    ],
                ]
            )
        }

        /// Makes the tables, or brings them to this library's version, in one transaction.
        ///
        /// - Returns: The numbers of the migrations that were run.
        @discardableResult
        public func migrate() async throws(OutboxError) -> [Int] {
            let schema = schema
            return try await database.transaction { db in try schema.migrate(db) }
        }

        /// The statements that make the tables, for migrators of the service's own.
        public func migrations(from version: Int = 0) -> [String] { schema.statements(from: version) }

        /// The offset of the next message of a partition; nil where none was stored.
        ///
        /// - Throws: ``OutboxError``: `schemaVersion` where the tables are not there; the database's error.
        public func nextOffset(of place: InboxPlace) async throws(OutboxError) -> Int64? {
            let schema = schema
            return try await database.perform { db in
                try schema.check(db)
                return try self.next(db, place)
            }
        }

        private func next(_ db: Database, _ place: InboxPlace) throws -> Int64? {
            try Int64.fetchOne(
                db.cachedStatement(
                    sql: "SELECT next FROM \(table.name("_offset")) WHERE consumer = ? AND topic = ? AND part = ?"
                ),
                arguments: [consumer, place.topic, place.partition]
            )
        }

        /// Runs `effect` in a transaction that also stores the messages' offset and keys, unless there is nothing new among them.
        @discardableResult
        public func receive(
            _ messages: [InboxMessage],
            _ effect: @escaping @Sendable (Database, [Int]) throws -> Void
        ) async throws -> [Int] {
            guard let place = try place(of: messages) else { return [] }
            // The transaction's error, or the effect's own.
            let result: Result<[Int], any Error> = await withCheckedContinuation { continuation in
                database.asyncWriteWithoutTransaction { db in
                    continuation.resume(returning: transaction(db, messages, place, effect))
                }
            }
            return try result.get()
        }

        private func transaction(
            _ db: Database,
            _ messages: [InboxMessage],
            _ place: InboxPlace,
            _ effect: (Database, [Int]) throws -> Void
        ) -> Result<[Int], any Error> {
            var new: [Int] = []
            var isEffect = false
            do {
                try db.inTransaction(.immediate) {
                    new = try note(messages, at: place, db)
                    guard !new.isEmpty else { return .commit }
                    isEffect = true
                    try effect(db, new)
                    isEffect = false
                    return .commit
                }
                return .success(new)
            } catch {
                // A database that is busy or cannot be written to is not the effect's failure, although it meets it first.
                let meaning = OutboxError(database: error)
                let isTheDatabases = error is DatabaseError && meaning.recovery == .retry
                return .failure(isEffect && !isTheDatabases ? error : meaning)
            }
        }

        /// Moves the offset past the messages, and notes their keys.
        ///
        /// - Returns: The indices of those that are new.
        private func note(_ messages: [InboxMessage], at place: InboxPlace, _ db: Database) throws -> [Int] {
            let next = try next(db, place) ?? .min
            guard let last = messages.last, last.offset >= next else { return [] }
            try db.cachedStatement(
                sql: """
                    INSERT INTO \(table.name("_offset")) (consumer, topic, part, next) VALUES (?1, ?2, ?3, ?4)
                    ON CONFLICT (consumer, topic, part) DO UPDATE SET next = excluded.next
                    """
            ).execute(arguments: [consumer, place.topic, place.partition, last.offset + 1])
            // No effect is stored without its offset.
            guard db.changesCount == 1 else { throw OutboxError.offsetNotMoved(of: place) }
            var new: [Int] = []
            for (index, message) in messages.enumerated() where message.offset >= next {
                if let key = message.idempotencyKey, try !isFirst(key, db) { continue }
                new.append(index)
            }
            return new
        }

        private func isFirst(_ key: [UInt8], _ db: Database) throws -> Bool {
            try db.cachedStatement(
                sql: "INSERT INTO \(table.name("_seen")) (consumer, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING"
            ).execute(arguments: [consumer, OutboxValue.bytes(key).databaseValue])
            guard db.changesCount == 1 else { return false }
            // Two old ones for each new one: what is remembered cannot grow. Others have memories of their own.
            try db.cachedStatement(
                sql: """
                    DELETE FROM \(table.name("_seen")) WHERE (consumer, key) IN (
                    SELECT consumer, key FROM \(table.name("_seen"))
                    WHERE consumer = ?1 AND at < \(Database.now) - ?2 ORDER BY at LIMIT 2)
                    """
            ).execute(arguments: [consumer, rememberFor])
            return true
        }
    }
#endif
