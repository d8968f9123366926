#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    /// One read of a publisher, inside a transaction that holds the lease.
    struct SQLiteReading {
        private let db: Database
        private let table: OutboxTable
        private let request: OutboxReadRequest
        private let parking: SQLiteParking

        init(_ db: Database, _ table: OutboxTable, _ request: OutboxReadRequest) {
            self.db = db
            self.table = table
            self.request = request
            parking = SQLiteParking(db, table)
        }

        func run() throws -> [OutboxEvent] {
            let hasParked =
                try Bool.fetchOne(db.cachedStatement(sql: "SELECT EXISTS (SELECT 1 FROM \(table.name("_parked")))"))
                ?? false
            if hasParked {
                try db.execute(
                    sql: "DELETE FROM \(table.name("_parked")) WHERE action = 'discard' AND destination = ?",
                    arguments: [request.destination]
                )
            }
            var events: [OutboxEvent] = []
            var bytes = 0
            for slot in request.slots {
                let limit = max(request.limitPerSlot, 1)
                var found: [OutboxEvent] = []
                if hasParked { found = try resumed(slot, limit: limit) }
                if found.count < limit { found += try waiting(slot, limit: limit - found.count, hasParked: hasParked) }
                for (index, event) in found.enumerated() {
                    // One of each slot comes anyway.
                    if index > 0, bytes >= request.maximumBytes { break }
                    bytes += event.weight
                    events.append(event)
                }
            }
            return events
        }

        /// Parked rows of a slot that a person wants sent again.
        private func resumed(_ slot: Int, limit: Int) throws -> [OutboxEvent] {
            try select("_parked", slot, after: 0, limit: limit, "AND action = 'resume'").compactMap { row in
                let (event, fault) = SQLiteRows.event(row, origin: .parked)
                guard let fault else { return event }
                try parking.park(
                    OutboxSettlement.Parking(event: event, attempts: 0, reason: fault, withFollowers: true)
                )
                return nil
            }
        }

        /// The first rows of a slot whose key is not parked. Those whose key is are parked, too, and come no more.
        private func waiting(_ slot: Int, limit: Int, hasParked: Bool) throws -> [OutboxEvent] {
            var events: [OutboxEvent] = []
            var last: Int64 = 0
            // A window of rows at a time; a row that is moved away makes room for another one.
            while true {
                let rows = try select("", slot, after: last, limit: limit - events.count)
                var moved = 0
                for row in rows {
                    last = SQLiteRows.integer(row, 0)
                    let (event, fault) = SQLiteRows.event(row, origin: .outbox)
                    if hasParked || moved > 0, try parking.follow(event) {
                        moved += 1
                    } else if let fault {
                        try parking.park(
                            OutboxSettlement.Parking(event: event, attempts: 0, reason: fault, withFollowers: true)
                        )
                        moved += 1
                    } else {
                        events.append(event)
                    }
                }
                if moved == 0 { return events }
            }
        }

        private func select(_ suffix: String, _ slot: Int, after id: Int64, limit: Int, _ and: String = "") throws
            -> [Row]
        {
            var conditions = ""
            var arguments: [any DatabaseValueConvertible] = [slot, request.destination, id, limit]
            if let keys = request.withheldKeys[slot], !keys.isEmpty {
                arguments.append("[" + keys.map { "\"" + Self.hexadecimal($0) + "\"" }.joined(separator: ",") + "]")
                conditions += " AND (key IS NULL OR hex(key) NOT IN (SELECT value FROM json_each(?\(arguments.count))))"
            }
            if let numbers = request.withheldNumbers[slot], !numbers.isEmpty {
                arguments.append("[" + numbers.map(String.init).joined(separator: ",") + "]")
                conditions += " AND (key IS NOT NULL OR id NOT IN (SELECT value FROM json_each(?\(arguments.count))))"
            }
            return try Row.fetchAll(
                db.cachedStatement(
                    sql: """
                        SELECT \(SQLiteRows.columns) FROM \(table.name(suffix))
                        WHERE slot = ?1 AND destination = ?2 AND id > ?3 \(and)\(conditions) ORDER BY id LIMIT ?4
                        """
                ),
                arguments: StatementArguments(arguments)
            )
        }

        /// As SQLite's `hex()` writes it.
        private static func hexadecimal(_ bytes: [UInt8]) -> String {
            let digits = Array("0123456789ABCDEF".utf8)
            return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
        }
    }
#endif
