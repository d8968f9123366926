#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    /// One numbered step of the schema.
    struct SQLiteMigration {
        let number: Int
        let statements: [String]

        /// All steps, in order; a step that was released is never changed.
        ///
        /// `STRICT` tables need SQLite 3.37: a column then has values of its type, whoever writes them. `AUTOINCREMENT`: an id is never
        /// used again, so ids are in the order of the commits also after the newest rows were deleted.
        static func all(_ table: OutboxTable) -> [SQLiteMigration] {
            let columns = """
                slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 31),
                idempotency_key TEXT NOT NULL,
                destination TEXT NOT NULL DEFAULT 'kafka',
                topic TEXT NOT NULL,
                key BLOB,
                payload BLOB,
                headers TEXT NOT NULL DEFAULT '[]',
                created_at INTEGER NOT NULL DEFAULT (\(Database.now))
                """
            return [
                SQLiteMigration(
                    number: 1,
                    statements: [
                        "CREATE TABLE \(table.name()) (\nid INTEGER PRIMARY KEY AUTOINCREMENT,\n\(columns)\n) STRICT",
                        // The rowid is the index's last column: rows of a slot come in order.
                        "CREATE INDEX \(table.quoted(table.prefix + "_slot")) ON \(table.name()) (slot, destination)",
                        """
                        CREATE TABLE \(table.name("_parked")) (
                        id INTEGER PRIMARY KEY,
                        \(columns),
                        attempts INTEGER NOT NULL,
                        reason TEXT NOT NULL,
                        parked_at INTEGER NOT NULL,
                        action TEXT CHECK (action IN ('resume', 'discard')),
                        holds INTEGER NOT NULL DEFAULT 1
                        ) STRICT
                        """,
                        """
                        CREATE INDEX \(table.quoted(table.prefix + "_parked_key")) \
                        ON \(table.name("_parked")) (slot, destination, key)
                        """,
                        """
                        CREATE TABLE \(table.name("_lease")) (
                        id INTEGER PRIMARY KEY CHECK (id = 1),
                        owner TEXT,
                        name TEXT,
                        since INTEGER,
                        until INTEGER
                        ) STRICT
                        """,
                        "INSERT INTO \(table.name("_lease")) (id) VALUES (1)",
                    ]
                )
            ]
        }

        /// The newest version.
        static let version = 1
    }

    extension SQLiteOutbox {
        /// The statements that make the tables, for migrators of the service's own: to be run in one transaction, in order.
        ///
        /// - Parameter version: The version that the tables have; 0 where there are none.
        public func migrations(from version: Int = 0) -> [String] {
            let schema = table.name("_schema")
            return SQLiteMigration.all(table).filter { $0.number > version }.flatMap { migration in
                (migration.number == 1
                    ? ["CREATE TABLE IF NOT EXISTS \(schema) (version INTEGER PRIMARY KEY) STRICT"] : [])
                    + migration.statements + ["INSERT INTO \(schema) (version) VALUES (\(migration.number))"]
            }
        }

        /// The version that the tables have; 0 where there are none.
        func schemaVersion(_ db: Database) throws -> Int {
            let name = table.prefix + "_schema"
            let isThere = try Bool.fetchOne(
                db,
                sql: "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE)",
                arguments: [name]
            )
            guard isThere == true else { return 0 }
            return try Int.fetchOne(db, sql: "SELECT max(version) FROM \(table.name("_schema"))") ?? 0
        }

        /// Fails where the tables are of another version.
        func checkSchema(_ db: Database) throws {
            let version = try schemaVersion(db)
            guard version == SQLiteMigration.version else {
                throw OutboxError(
                    kind: .schemaVersion,
                    persistence: .notPersisted,
                    recovery: .fixRequest,
                    reason: version == 0
                        ? "the outbox's tables are not there: migrate first"
                        : "the outbox's tables have version \(version), and this library needs \(SQLiteMigration.version)"
                )
            }
        }
    }
#endif
