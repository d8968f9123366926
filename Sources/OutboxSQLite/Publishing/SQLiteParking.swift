#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    /// Moves rows among the parked, inside a transaction that holds the lease. Rows never go back: they would be read after newer ones.
    struct SQLiteParking {
        private let db: Database
        private let table: OutboxTable

        init(_ db: Database, _ table: OutboxTable) {
            self.db = db
            self.table = table
        }

        private static let copied = "id, slot, idempotency_key, destination, topic, key, payload, headers, created_at"

        /// Why a row is parked that did not fail.
        static let follows = "waits for an earlier event of its key, which is parked"

        /// Parks an event that was given up, and the rows of its key that follow.
        ///
        /// - Returns: How many rows were parked.
        func park(_ parking: OutboxSettlement.Parking) throws -> Int {
            let event = parking.event
            let reason = parking.reason.replacing("\0", with: "")
            let holds = parking.withFollowers
            switch event.origin {
            case .outbox:
                guard try move(event.id.number, attempts: parking.attempts, reason: reason, action: nil, holds: holds)
                else { return 0 }
            case .parked:
                try db.cachedStatement(
                    sql: """
                        UPDATE \(table.name("_parked")) SET attempts = ?2, reason = ?3, parked_at = \(Database.now), action = NULL,
                        holds = ?4 WHERE id = ?1 AND action = 'resume'
                        """
                ).execute(arguments: [event.id.number, parking.attempts, reason, holds])
                // Deleted or discarded while it was at its destination: it holds nothing back any more.
                guard db.changesCount == 1 else { return 0 }
            }
            guard holds, let key = event.message.key else { return 1 }
            let place: StatementArguments = [
                event.id.slot, event.message.destination, OutboxValue.bytes(key).databaseValue, event.id.number,
            ]
            // Those that were to be sent after it wait again.
            try db.cachedStatement(
                sql: """
                    UPDATE \(table.name("_parked")) SET action = NULL
                    WHERE slot = ?1 AND destination = ?2 AND key = ?3 AND id > ?4 AND action = 'resume'
                    """
            ).execute(arguments: place)
            let followers = try Int64.fetchAll(
                db.cachedStatement(
                    sql: """
                        SELECT id FROM \(table.name()) WHERE slot = ?1 AND destination = ?2 AND key = ?3 AND id > ?4 ORDER BY id
                        """
                ),
                arguments: place
            )
            var count = 1
            for id in followers where try move(id, attempts: 0, reason: Self.follows, action: nil, holds: true) {
                count += 1
            }
            return count
        }

        /// Parks a row whose key has parked rows before it that hold it back. It is sent again with them, where they are to be.
        ///
        /// - Returns: Whether its key has such.
        func follow(_ event: OutboxEvent) throws -> Bool {
            guard let key = event.message.key else { return false }
            let last = try Row.fetchOne(
                db.cachedStatement(
                    sql: """
                        SELECT action FROM \(table.name("_parked"))
                        WHERE slot = ?1 AND destination = ?2 AND key = ?3 AND id < ?4 AND holds ORDER BY id DESC LIMIT 1
                        """
                ),
                arguments: [
                    event.id.slot, event.message.destination, OutboxValue.bytes(key).databaseValue, event.id.number,
                ]
            )
            guard let last else { return false }
            let action = String.fromDatabaseValue(last[0] as DatabaseValue)
            return try move(event.id.number, attempts: 0, reason: Self.follows, action: action, holds: true)
        }

        private func move(_ id: Int64, attempts: Int, reason: String, action: String?, holds: Bool) throws -> Bool {
            try db.cachedStatement(
                sql: """
                    INSERT INTO \(table.name("_parked")) (\(Self.copied), attempts, reason, parked_at, action, holds)
                    SELECT \(Self.copied), ?2, ?3, \(Database.now), ?4, ?5 FROM \(table.name()) WHERE id = ?1
                    """
            ).execute(arguments: [id, attempts, reason, action, holds])
            let isMoved = db.changesCount == 1
            try db.cachedStatement(sql: "DELETE FROM \(table.name()) WHERE id = ?").execute(arguments: [id])
            return isMoved
        }
    }
#endif
