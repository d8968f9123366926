internal import OutboxDelivery

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// The statements that read rows, and rows as events.
struct PostgresReading {
    /// What a row's columns are, in this order, in every statement that reads events.
    static let columns = "slot, id, idempotency_key, destination, topic, key, payload, headers, created_at"

    let table: OutboxTable

    private func selected(_ alias: String) -> String {
        Self.columns.split(separator: ", ").map { column in
            column == "headers" ? "\(alias).headers::text" : "\(alias).\(column)"
        }.joined(separator: ", ")
    }

    /// About how many bytes a row's event has, as ``OutboxDelivery/OutboxEvent/weight`` counts them. Headers may be stored compressed, which
    /// PostgreSQL does to rows of more than about 2,000 bytes.
    private func size(_ alias: String) -> String {
        """
        256 + octet_length(\(alias).idempotency_key) + octet_length(\(alias).topic) + coalesce(octet_length(\(alias).key), 0)
            + coalesce(octet_length(\(alias).payload), 0) + CASE WHEN pg_column_size(\(alias).headers) < 64
                THEN pg_column_size(\(alias).headers) ELSE octet_length(\(alias).headers::text) END
        """
    }

    /// The first rows of each lane.
    ///
    /// - Parameters:
    ///   - looksForHeld: Whether ``isHeld(_:_:)`` says if a parked row holds the key back.
    ///   - isCounted: Whether the rows end behind the one with which a lane's share of the bytes is used up. To add them up takes a third of
    ///     the time of a whole read, and no lane has more than its share where no row has more than its part of that. So it need not be
    ///     done at first: what is larger comes without its message then, see ``hasLarge(_:)``.
    func rows(
        _ request: OutboxReadRequest,
        floors: [Int64],
        looksForHeld: Bool,
        isCounted: Bool
    ) -> OutboxStatement {
        let limit = max(request.limitPerSlot, 1)
        let share = max(request.maximumBytes / max(request.slots.count, 1), 1)
        let columns = Self.columns.split(separator: ", ").map { column in
            switch column {
            case "slot", "id", "created_at": "r.\(column)"
            // The request says it.
            case "destination": "NULL::text"
            // Nothing but an empty list or object is so short, and that is what most rows have.
            case "headers": "CASE WHEN r.size <= $7::bigint AND pg_column_size(r.headers) > 8 THEN r.headers::text END"
            default: "CASE WHEN r.size <= $7::bigint THEN r.\(column) END"
            }
        }
        var lane = """
            SELECT o.*, \(size("o")) AS size
            FROM \(table.name()) o
            WHERE o.slot = lane.slot AND o.id > lane.floor AND o.destination = $3
                AND (o.key IS NULL OR o.key <> ALL ($4::bytea[])) AND o.id <> ALL ($5::bigint[])
            ORDER BY o.id LIMIT $6::bigint
            """
        if isCounted {
            let running = "sum(w.size) OVER (ORDER BY w.id ROWS UNBOUNDED PRECEDING) AS running"
            lane = "SELECT w.*, \(running) FROM (\n\(lane)\n) w"
        }
        let text = """
            SELECT \(columns.joined(separator: ", ")), r.size > $8::bigint, \(looksForHeld ? holds("r") : "false")
            FROM unnest($1::smallint[], $2::bigint[]) AS lane (slot, floor)
            CROSS JOIN LATERAL (
            \(lane)
            ) r
            """
        // Behind the row with which the share is used up: one that is large does not look like the end.
        let end = isCounted ? "\nWHERE r.running - r.size < $9::bigint" : ""
        return OutboxStatement(
            text + end,
            [
                .text(PostgresArray.integers(request.slots.map(Int64.init))),
                .text(PostgresArray.integers(floors)),
                .text(request.destination),
                .text(PostgresArray.bytes(request.withheldKeys.values.joined())),
                .text(PostgresArray.integers(request.withheldNumbers.values.joined())),
                .integer(Int64(limit)),
                .integer(isCounted ? .max : Int64(share / limit)),
                .integer(Int64(share / limit)),
            ] + (isCounted ? [.integer(Int64(share))] : [])
        )
    }

    /// Whether one of the rows is larger than its part of its lane's share.
    static func hasLarge(_ rows: LibpqRows) -> Bool { (0..<rows.count).contains { rows.boolean($0, 9) == true } }

    /// Whether a parked row holds a row's key back.
    static func isHeld(_ rows: LibpqRows, _ row: Int) -> Bool { rows.boolean(row, 10) == true }

    /// Parked rows that a person resumed, and whose key has none before it that is still undecided.
    func resumed(_ request: OutboxReadRequest) -> OutboxStatement {
        let text = """
            SELECT \(selected("r")), false FROM (
                SELECT p.*, row_number() OVER (ORDER BY p.slot, p.id) AS place,
                    sum(\(size("p"))) OVER (ORDER BY p.slot, p.id) AS running
                FROM \(table.name("_parked")) p
                WHERE p.slot = ANY ($1::smallint[]) AND p.destination = $2 AND p.action = 'resume'
                    AND (p.key IS NULL OR p.key <> ALL ($3::bytea[])) AND p.id <> ALL ($4::bigint[])
                    AND NOT EXISTS (
                        SELECT FROM \(table.name("_parked")) q
                        WHERE q.slot = p.slot AND sha256(q.key) = sha256(p.key) AND q.key = p.key AND q.destination = p.destination
                            AND q.holds AND q.id < p.id AND q.action IS NULL
                    )
                LIMIT $5::bigint
            ) r WHERE r.running <= $6::bigint OR r.place = 1
            """
        return OutboxStatement(
            text,
            [
                .text(PostgresArray.integers(request.slots.map(Int64.init))),
                .text(request.destination),
                .text(PostgresArray.bytes(request.withheldKeys.values.joined())),
                .text(PostgresArray.integers(request.withheldNumbers.values.joined())),
                .integer(Int64(max(request.limitPerSlot, 1))),
                .integer(Int64(max(request.maximumBytes, 1))),
            ]
        )
    }

    /// Whether a row is held back: a row with its key that comes before it is parked.
    func holds(_ alias: String) -> String {
        """
        EXISTS (
            SELECT FROM \(table.name("_parked")) p
            WHERE p.slot = \(alias).slot AND sha256(p.key) = sha256(\(alias).key) AND p.key = \(alias).key
                AND p.destination = \(alias).destination AND p.id < \(alias).id AND p.holds
        )
        """
    }

    /// A row as an event.
    ///
    /// - Parameters:
    ///   - destination: Whose rows were asked for, where they do not say it.
    ///   - lastTopic: That of the row before, which it mostly shares.
    static func event(
        _ rows: LibpqRows,
        _ row: Int,
        origin: OutboxEvent.Origin,
        of destination: String? = nil,
        after lastTopic: String? = nil
    ) throws(OutboxError) -> OutboxEvent {
        guard let slot = rows.integer(row, 0), let number = rows.integer(row, 1), let key = rows.text(row, 2),
            let destination = destination ?? rows.text(row, 3),
            let topic = rows.text(row, 4, like: lastTopic), let created = rows.integer(row, 8)
        else { throw .invalidMessage("a row of the outbox has columns of other types") }
        var defect: String?
        var headers: [OutboxHeader] = []
        var attributes: [String: String] = [:]
        let decoded = rows.withBytes(row, 7) { bytes in
            Result { () throws(OutboxError) in try OutboxHeaderCoding.decode(bytes) }
        }
        switch decoded {
        case .success(let columns): (headers, attributes) = columns
        case .failure(let error): defect = error.reason
        case nil: break
        }
        let message = OutboxMessage(
            destination: destination,
            topic: topic,
            key: rows.bytes(row, 5),
            payload: rows.bytes(row, 6),
            headers: headers,
            attributes: attributes,
            idempotencyKey: key
        )
        return OutboxEvent(
            id: OutboxEvent.ID(slot: Int(slot), number: number),
            createdAt: date(created),
            message: message,
            origin: origin,
            defect: defect
        )
    }

    /// A `timestamptz` in binary format: microseconds since 2000-01-01T00:00:00Z.
    static func date(_ microseconds: Int64) -> Date {
        Date(timeIntervalSince1970: 946_684_800 + Double(microseconds) / 1_000_000)
    }
}

/// Arrays as PostgreSQL reads them from text, to be bound as one value.
enum PostgresArray {
    static func integers(_ values: some Sequence<Int64>) -> String {
        var text = "{"
        for value in values {
            if text.utf8.count > 1 { text.append(",") }
            text.append(String(value))
        }
        text.append("}")
        return text
    }

    static func texts(_ values: some Sequence<String>) -> String {
        // By bytes: a mark with a combining character behind it is one mark all the same.
        let (mark, escape) = (UInt8(ascii: "\""), UInt8(ascii: "\\"))
        let items = values.map { text in
            let escaped = text.utf8.flatMap { $0 == mark || $0 == escape ? [escape, $0] : [$0] }
            return "\"" + String(decoding: escaped, as: UTF8.self) + "\""
        }
        return "{" + items.joined(separator: ",") + "}"
    }

    static func bytes(_ values: some Sequence<[UInt8]>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        let items = values.map { bytes in
            let hexadecimal = bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 0xF)]] }
            return "\"\\\\x" + String(decoding: hexadecimal, as: UTF8.self) + "\""
        }
        return "{" + items.joined(separator: ",") + "}"
    }
}
