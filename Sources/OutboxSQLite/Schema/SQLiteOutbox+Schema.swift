#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    extension SQLiteOutbox {
        /// The outbox's tables.
        ///
        /// `STRICT` tables need SQLite 3.37: a column then has values of its type, whatever program writes them. `AUTOINCREMENT`: an id is never
        /// used again, so ids are in the order of the commits also after the newest rows were deleted.
        var schema: SQLiteSchema {
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
            let first = [
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
            let second = [
                // Of the lease that is held: publishers may have leases of different lengths.
                "ALTER TABLE \(table.name("_lease")) ADD COLUMN length INTEGER",
                """
                CREATE TABLE \(table.name("_inflight")) (
                slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 31),
                destination TEXT NOT NULL,
                batch INTEGER NOT NULL,
                topic TEXT NOT NULL,
                ids TEXT NOT NULL,
                noted_at INTEGER NOT NULL,
                PRIMARY KEY (slot, destination)
                ) STRICT, WITHOUT ROWID
                """,
                "CREATE TABLE \(table.name("_archive")) (\nid INTEGER NOT NULL,\n\(columns),\narchived_at INTEGER NOT NULL\n) STRICT",
                """
                CREATE INDEX \(table.quoted(table.prefix + "_archived_at")) ON \(table.name("_archive")) (archived_at)
                """,
            ]
            return SQLiteSchema(what: "outbox", table: table, steps: [first, second])
        }

        /// The statements that make the tables, for migrators of the service's own: to be run in one transaction, in order.
        ///
        /// - Parameter version: The version that the tables have; 0 where there are none.
        public func migrations(from version: Int = 0) -> [String] { schema.statements(from: version) }
    }
#endif
