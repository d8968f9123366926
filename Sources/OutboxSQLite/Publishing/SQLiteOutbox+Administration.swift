#if SQLite
    internal import GRDB
    public import OutboxDelivery

    #if canImport(FoundationEssentials)
        internal import FoundationEssentials
    #else
        internal import Foundation
    #endif

    extension SQLiteOutbox: OutboxAdministration {
        /// Makes the tables, or brings them to this library's version, in one transaction.
        @discardableResult
        public func migrate() async throws(OutboxError) -> [Int] {
            let schema = schema
            return try await database.transaction { db in try schema.migrate(db) }
        }

        /// How much waits, what is parked, and who has the lease.
        public func status() async throws(OutboxError) -> OutboxStatus {
            let table = table
            return try await database.perform { db in
                try schema.check(db)
                let waiting = try Row.fetchAll(
                    db,
                    sql: """
                        SELECT destination, topic, count(*), min(created_at) FROM \(table.name())
                        GROUP BY destination, topic ORDER BY destination, topic
                        """
                ).map { row in
                    OutboxStatus.Waiting(
                        destination: SQLiteRows.text(row, 0),
                        topic: SQLiteRows.text(row, 1),
                        count: Int(SQLiteRows.integer(row, 2)),
                        oldest: SQLiteRows.date(row, 3)
                    )
                }
                let publishers = try Row.fetchAll(
                    db,
                    sql: """
                        SELECT name, since FROM \(table.name("_lease")) WHERE owner IS NOT NULL AND until >= \(Database.now)
                        """
                ).map { row in
                    OutboxStatus.Publisher(
                        name: SQLiteRows.text(row, 0),
                        slots: Array(0..<OutboxEvent.slotCount),
                        since: SQLiteRows.date(row, 1)
                    )
                }
                let parked = try Row.fetchOne(
                    db,
                    sql: """
                        SELECT count(*), count(DISTINCT slot || ' ' || destination || ' ' || hex(key)) + (count(*) > count(key)), \(Database.now)
                        FROM \(table.name("_parked"))
                        """
                )
                return OutboxStatus(
                    schemaVersion: try schema.version(db),
                    waiting: waiting,
                    publishers: publishers,
                    parkedCount: parked.map { Int(SQLiteRows.integer($0, 0)) } ?? 0,
                    parkedKeyCount: parked.map { Int(SQLiteRows.integer($0, 1)) } ?? 0,
                    readAt: parked.map { SQLiteRows.date($0, 2) } ?? Date()
                )
            }
        }

        /// Parked events, those that failed before those that wait for them.
        public func parked(key: [UInt8]?, limit: Int) async throws(OutboxError) -> [OutboxParkedEvent] {
            let table = table
            return try await database.perform { db in
                try schema.check(db)
                return try Row.fetchAll(
                    db,
                    sql: """
                        SELECT \(SQLiteRows.columns), attempts, reason, parked_at, action FROM \(table.name("_parked"))
                        WHERE ?1 IS NULL OR key = ?1 ORDER BY id LIMIT ?2
                        """,
                    arguments: [key.map { OutboxValue.bytes($0).databaseValue }, max(limit, 0)]
                ).map { row in
                    OutboxParkedEvent(
                        event: SQLiteRows.event(row, origin: .parked),
                        attempts: Int(SQLiteRows.integer(row, 9)),
                        reason: SQLiteRows.text(row, 10),
                        parkedAt: SQLiteRows.date(row, 11),
                        action: OutboxParkedAction(rawValue: SQLiteRows.text(row, 12))
                    )
                }
            }
        }

        /// Flags parked events; the publisher that has the lease sees the flag at once, or within its poll interval. One that is to be
        /// discarded stays so when its key is resumed.
        public func decide(
            _ action: OutboxParkedAction,
            _ selection: OutboxParkedSelection
        ) async throws(OutboxError) -> Int {
            let table = table
            return try await database.transaction { db in
                try schema.check(db)
                var (condition, argument): (String, DatabaseValue) =
                    switch selection {
                    case .all: ("?2 IS NULL", .null)
                    case .key(let key): ("key = ?2", OutboxValue.bytes(key).databaseValue)
                    case .event(let id): ("id = ?2", id.number.databaseValue)
                    }
                // What a person has thrown away is not sent, whether a publisher has carried that out yet or not.
                if action == .resume { condition += " AND action IS NOT 'discard'" }
                try db.execute(
                    sql: "UPDATE \(table.name("_parked")) SET action = ?1 WHERE \(condition)",
                    arguments: [action.rawValue, argument]
                )
                return db.changesCount
            }
        }
    }
#endif
