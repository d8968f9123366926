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
            let share = request.maximumBytes / max(request.slots.count, 1)
            for slot in request.slots {
                // One of each slot comes anyway.
                var room = Room(rows: max(request.limitPerSlot, 1), bytes: share)
                if hasParked { events += try resumed(slot, &room) }
                if !room.isFull { events += try waiting(slot, &room, hasParked: hasParked) }
            }
            return events
        }

        /// How much of a slot may still come. No row is fetched that has no place in it.
        private struct Room {
            private var rows: Int
            private var bytes: Int
            private var isEmpty = true

            init(rows: Int, bytes: Int) {
                self.rows = rows
                self.bytes = bytes
            }

            var isFull: Bool { rows <= 0 || (bytes <= 0 && !isEmpty) }

            mutating func take(_ event: OutboxEvent) {
                rows -= 1
                bytes -= event.weight
                isEmpty = false
            }
        }

        /// Parked rows of a slot that a person wants sent again, and whose key has none before them that is still undecided.
        private func resumed(_ slot: Int, _ room: inout Room) throws -> [OutboxEvent] {
            let decided = """
                AND action = 'resume' AND NOT EXISTS (
                    SELECT 1 FROM \(table.name("_parked")) q
                    WHERE q.slot = r.slot AND q.destination = r.destination AND q.key = r.key AND q.holds AND q.id < r.id
                        AND q.action IS NULL
                )
                """
            let events = try select("_parked", slot, after: 0, room, decided, origin: .parked)
            for event in events { room.take(event) }
            return events
        }

        /// The first rows of a slot whose key is not parked. Those behind a parked one of their key are parked, too, and come no more. What
        /// cannot be read comes with its defect: the publisher decides about it, and about what was read behind it.
        private func waiting(_ slot: Int, _ room: inout Room, hasParked: Bool) throws -> [OutboxEvent] {
            var events: [OutboxEvent] = []
            var last: Int64 = 0
            // A window of rows at a time; a row that is moved away makes room for another one.
            while true {
                var moved = 0
                for event in try select("", slot, after: last, room, origin: .outbox) {
                    last = event.id.number
                    if hasParked, try parking.follow(event) {
                        moved += 1
                    } else {
                        room.take(event)
                        events.append(event)
                    }
                }
                if moved == 0 || room.isFull { return events }
            }
        }

        /// Rows one after the other, until there is no room for another one.
        private func select(
            _ suffix: String,
            _ slot: Int,
            after id: Int64,
            _ room: Room,
            _ and: String = "",
            origin: OutboxEvent.Origin
        ) throws -> [OutboxEvent] {
            var conditions = ""
            var arguments: [any DatabaseValueConvertible] = [slot, request.destination, id]
            if let keys = request.withheldKeys[slot], !keys.isEmpty {
                arguments.append("[" + keys.map { "\"" + Self.hexadecimal($0) + "\"" }.joined(separator: ",") + "]")
                conditions += " AND (key IS NULL OR hex(key) NOT IN (SELECT value FROM json_each(?\(arguments.count))))"
            }
            if let numbers = request.withheldNumbers[slot], !numbers.isEmpty {
                arguments.append("[" + numbers.map(String.init).joined(separator: ",") + "]")
                conditions += " AND (key IS NOT NULL OR id NOT IN (SELECT value FROM json_each(?\(arguments.count))))"
            }
            let rows = try Row.fetchCursor(
                db.cachedStatement(
                    sql: """
                        SELECT \(SQLiteRows.columns) FROM \(table.name(suffix)) r
                        WHERE slot = ?1 AND destination = ?2 AND id > ?3 \(and)\(conditions) ORDER BY id
                        """
                ),
                arguments: StatementArguments(arguments)
            )
            var room = room
            var found: [OutboxEvent] = []
            while !room.isFull, let row = try rows.next() {
                let event = SQLiteRows.event(row, origin: origin)
                room.take(event)
                found.append(event)
            }
            return found
        }

        /// As SQLite's `hex()` writes it.
        private static func hexadecimal(_ bytes: [UInt8]) -> String {
            let digits = Array("0123456789ABCDEF".utf8)
            return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
        }
    }
#endif
