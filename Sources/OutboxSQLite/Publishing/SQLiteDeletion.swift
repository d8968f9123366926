#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    /// Deletes rows that are done, inside a transaction that holds the lease, and keeps them in the archive where there is one.
    struct SQLiteDeletion {
        private static let columns = "id, slot, idempotency_key, destination, topic, key, payload, headers, created_at"

        private let db: Database
        private let table: OutboxTable
        private let archives: Bool

        init(_ db: Database, _ table: OutboxTable, archives: Bool) {
            self.db = db
            self.table = table
            self.archives = archives
        }

        /// Which of these rows are the ones that were read: another one may have a number now, in a file that was restored for instance.
        func same(_ events: [OutboxEvent], in suffix: String) throws -> [Int64] {
            let key = try db.cachedStatement(
                sql: "SELECT idempotency_key FROM \(table.name(suffix)) WHERE id = ?"
            )
            return try events.compactMap { event in
                let row = try Row.fetchOne(key, arguments: [event.id.number])
                return row.map { SQLiteRows.text($0, 0) } == event.message.idempotencyKey ? event.id.number : nil
            }
        }

        /// - Parameter suffix: Of the table that the rows are in.
        func delete(_ numbers: [Int64], from suffix: String) throws {
            guard !numbers.isEmpty else { return }
            let ids = "[" + numbers.map(String.init).joined(separator: ",") + "]"
            let these = "id IN (SELECT value FROM json_each(?))"
            if archives {
                try db.cachedStatement(
                    sql: """
                        INSERT INTO \(table.name("_archive")) (\(Self.columns), archived_at)
                        SELECT \(Self.columns), \(Database.now) FROM \(table.name(suffix)) WHERE \(these)
                        """
                ).execute(arguments: [ids])
            }
            try db.cachedStatement(sql: "DELETE FROM \(table.name(suffix)) WHERE \(these)").execute(arguments: [ids])
        }

        /// Deletes what has been in the archive for longer than that; some thousand rows at a time, so that the service's writers, which
        /// wait for this one, do not wait long.
        static func shorten(_ db: Database, _ table: OutboxTable, days: Int) throws {
            let time = Int64(days) * 86_400_000
            // Looked for first: to delete nothing would have to wait for other writers, too.
            let isThere = try Bool.fetchOne(
                db.cachedStatement(
                    sql:
                        "SELECT EXISTS (SELECT 1 FROM \(table.name("_archive")) WHERE archived_at < \(Database.now) - ?)"
                ),
                arguments: [time]
            )
            guard isThere == true else { return }
            try db.cachedStatement(
                sql: """
                    DELETE FROM \(table.name("_archive")) WHERE rowid IN (
                        SELECT rowid FROM \(table.name("_archive")) WHERE archived_at < \(Database.now) - ?
                        ORDER BY archived_at LIMIT 5000
                    )
                    """
            ).execute(arguments: [time])
        }
    }
#endif
