#if SQLite
    public import GRDB
    public import OutboxDelivery

    /// An outbox in a SQLite database that the service opens with GRDB: the message is a row of the transaction that makes the
    /// change, and a publisher delivers it once that is committed.
    ///
    /// ```swift
    /// let outbox = try SQLiteOutbox(database)                 // a DatabasePool or DatabaseQueue of the service's own
    /// try await outbox.migrate()
    /// try await database.write { db in
    ///     try task.insert(db)
    ///     try outbox.append(OutboxMessage(topic: "tasks", key: task.id, payload: json), in: db)
    /// }
    /// ```
    ///
    /// **A commit that was published stays.** GRDB opens pools with `PRAGMA synchronous = NORMAL`, with which a power cut may take back
    /// the last commits, also those whose messages were published. This type sets `FULL` on the connection that writes, and
    /// ``append(_:in:)`` and a publisher's start refuse anything less. `journal_mode` `OFF` and `MEMORY`, which lose transactions or
    /// whole databases in a crash, are refused too, but for databases in memory.
    ///
    /// **Order.** SQLite has one writer at a time, so ids are in the order of the commits, and messages of one key are published in
    /// that order.
    ///
    /// **One publisher.** A row is the lease: its holder publishes, others stand by, and take over when it was not renewed for as long
    /// as ``Configuration/lease`` says. Whatever a publisher does to rows happens in a transaction that looks whether the lease is still
    /// its own, so one that was stopped and goes on can change nothing.
    ///
    /// **Waking.** Commits of this process are observed; those of other processes are seen by `PRAGMA data_version`, which is read each
    /// ``Configuration/pollInterval``.
    public struct SQLiteOutbox: Sendable {
        /// The settings of an outbox in SQLite.
        public struct Configuration: Sendable, Hashable {
            /// What the names of its tables begin with; see ``OutboxTable``.
            public var prefix = "outbox"

            /// How long a publisher may be silent until another one takes over; a second to an hour. It shows that it is alive three
            /// times as often.
            public var lease: Duration = .seconds(10)

            /// How often a publisher looks for commits of other processes, which costs some microseconds; a millisecond to a
            /// minute. nil where no other process writes.
            public var pollInterval: Duration? = .milliseconds(5)

            /// For how many days published rows are kept in `outbox_archive`, 1 to 100,000; nil deletes them at once, which is cheaper.
            public var archiveDays: Int?

            /// How a person recognises the publisher in ``OutboxStatus``; at most 200 bytes.
            public var publisherName: String

            /// The default settings, with the process's name and number as the publisher's name.
            public init() {
                publisherName = ProcessName.current
            }
        }

        let database: any DatabaseWriter
        let configuration: Configuration

        /// Closed sessions of this outbox that may still hold the lease.
        let orphans = OrphanedLeases()

        /// The names of its tables.
        public let table: OutboxTable

        /// An outbox in a database. Sets `synchronous = FULL` on the connection that writes.
        ///
        /// - Parameters:
        ///   - database: The service's own connection, with which it makes its changes.
        ///   - configuration: The settings.
        /// - Throws: ``OutboxError`` of the kind `invalidConfiguration` where a setting cannot be used, or the database's settings would
        ///   break the promises above; the database's error where it cannot be asked.
        public init(
            _ database: any DatabaseWriter,
            _ configuration: Configuration = Configuration()
        ) throws(OutboxError) {
            table = try OutboxTable(.sqlite, prefix: configuration.prefix)
            guard configuration.lease >= .seconds(1), configuration.lease <= .seconds(3_600) else {
                throw .invalidConfiguration("lease is \(configuration.lease), and has to be a second to an hour")
            }
            if let interval = configuration.pollInterval {
                guard interval >= .milliseconds(1), interval <= .seconds(60) else {
                    throw .invalidConfiguration("pollInterval is \(interval), and has to be a millisecond to a minute")
                }
            }
            guard (1...100_000).contains(configuration.archiveDays ?? 1) else {
                throw .invalidConfiguration("archiveDays has to be 1 to 100,000")
            }
            guard configuration.publisherName.utf8.count <= 200, !configuration.publisherName.utf8.contains(0) else {
                throw .invalidConfiguration("publisherName is longer than 200 bytes, or has a NUL character")
            }
            self.database = database
            self.configuration = configuration
            do {
                try database.writeWithoutTransaction { db in
                    try db.execute(sql: "PRAGMA synchronous = FULL")
                    try Durability.check(db)
                }
            } catch {
                throw OutboxError(database: error)
            }
        }

        /// Stores a message, in the transaction that the connection is in: to be called after the change, inside the same
        /// `write`. Rolled back, also to a savepoint, there is no message.
        ///
        /// - Parameters:
        ///   - message: What is stored.
        ///   - db: The connection that the change is made with.
        /// - Returns: The row.
        /// - Throws: ``OutboxError``: `invalidMessage`; `invalidConfiguration` where the connection is in no transaction, or commits
        ///   with `synchronous` below FULL; else the database's error. The transaction should be rolled back then.
        @discardableResult
        public func append(_ message: OutboxMessage, in db: Database) throws(OutboxError) -> OutboxEvent.ID {
            try append([message], in: db)[0]
        }

        /// Stores several messages, in order; see ``append(_:in:)-(OutboxMessage,_)``.
        @discardableResult
        public func append(_ messages: [OutboxMessage], in db: Database) throws(OutboxError) -> [OutboxEvent.ID] {
            do {
                guard db.isInsideTransaction else {
                    throw OutboxError.invalidConfiguration("store a message in the transaction that makes the change")
                }
                try Durability.check(db)
                var ids: [OutboxEvent.ID] = []
                for message in messages {
                    try db.execute(try table.insert(message))
                    ids.append(OutboxEvent.ID(slot: OutboxSlot.of(message), number: db.lastInsertedRowID))
                }
                return ids
            } catch {
                throw OutboxError(database: error)
            }
        }
    }
#endif
