#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    /// The notes of batches that are stored exactly once, inside a transaction that holds the lease.
    struct SQLiteInflight {
        private let db: Database
        private let table: OutboxTable

        init(_ db: Database, _ table: OutboxTable) {
            self.db = db
            self.table = table
        }

        func last(slot: Int, destination: String) throws -> OutboxInflight? {
            let row = try Row.fetchOne(
                db.cachedStatement(
                    sql: """
                        SELECT batch, topic, ids, noted_at FROM \(table.name("_inflight")) WHERE slot = ? AND destination = ?
                        """
                ),
                arguments: [slot, destination]
            )
            guard let row else { return nil }
            return OutboxInflight(
                slot: slot,
                destination: destination,
                number: SQLiteRows.integer(row, 0),
                topic: SQLiteRows.text(row, 1),
                rows: SQLiteRows.text(row, 2).split(separator: ",").compactMap { Int64($0) },
                notedAt: SQLiteRows.date(row, 3)
            )
        }

        func note(_ inflight: OutboxInflight) throws {
            try db.cachedStatement(
                sql: """
                    INSERT INTO \(table.name("_inflight")) AS i (slot, destination, batch, topic, ids, noted_at)
                    VALUES (?1, ?2, ?3, ?4, ?5, \(Database.now))
                    ON CONFLICT (slot, destination) DO UPDATE
                    SET batch = excluded.batch, topic = excluded.topic, ids = excluded.ids, noted_at = excluded.noted_at
                    WHERE i.batch < excluded.batch
                    """
            ).execute(
                arguments: [
                    inflight.slot, inflight.destination, inflight.number, inflight.topic,
                    inflight.rows.map(String.init).joined(separator: ","),
                ]
            )
            guard db.changesCount == 1 else {
                throw OutboxError(
                    kind: .fenced,
                    persistence: .notPersisted,
                    recovery: .retry,
                    reason: "another session has noted a later batch"
                )
            }
        }
    }
#endif
