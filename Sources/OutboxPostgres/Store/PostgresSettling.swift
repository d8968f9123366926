internal import OutboxDelivery

/// The statements that delete, park and archive rows.
struct PostgresSettling {
    private static let columns = "slot, id, idempotency_key, destination, topic, key, payload, headers, created_at"

    let table: OutboxTable
    var archives = false
    /// Whether the database stores any text.
    var isUTF8 = true

    /// What a settlement comes to: one statement where it only deletes, which is what nearly all do.
    func statements(_ settlement: OutboxSettlement) -> [OutboxStatement] {
        if settlement.isOfEarlierSession { return deletionsByKey(settlement.accepted) }
        var statements: [OutboxStatement] = []
        var rows: [OutboxEvent.ID] = []
        var resumed: [OutboxEvent.ID] = []
        rows.reserveCapacity(settlement.accepted.count)
        for index in settlement.accepted.indices {
            switch settlement.accepted[index].origin {
            case .outbox: rows.append(settlement.accepted[index].id)
            case .parked: resumed.append(settlement.accepted[index].id)
            }
        }
        if !rows.isEmpty { statements.append(delete(rows, from: table.name())) }
        if !resumed.isEmpty { statements.append(delete(resumed, from: table.name("_parked"))) }
        for parking in settlement.parked { statements += park(parking) }
        return statements
    }

    /// Rows that are done, in either table.
    func deletions(_ rows: [OutboxEvent.ID]) -> [OutboxStatement] {
        ["", "_parked"].map { delete(rows, from: table.name($0)) }
    }

    /// What an earlier session read: another row may have its number now. Nothing else of that may be changed.
    private func deletionsByKey(_ events: [OutboxEvent]) -> [OutboxStatement] {
        let parts: [(OutboxEvent.Origin, String)] = [(.outbox, table.name()), (.parked, table.name("_parked"))]
        return parts.compactMap { origin, name in
            let own = events.filter { $0.origin == origin }
            if own.isEmpty { return nil }
            let delete = """
                DELETE FROM \(name) o USING unnest($1::smallint[], $2::bigint[], $3::text[]) AS done (slot, id, key)
                WHERE o.slot = done.slot AND o.id = done.id AND o.idempotency_key = done.key
                """
            let keys = PostgresArray.texts(own.map(\.message.idempotencyKey))
            return archived([delete], ids(own.map(\.id)) + [.text(keys)])
        }
    }

    private func ids(_ rows: [OutboxEvent.ID]) -> [OutboxValue] {
        [
            .text(PostgresArray.integers(rows.map { Int64($0.slot) })),
            .text(PostgresArray.integers(rows.map(\.number))),
        ]
    }

    private func delete(_ rows: [OutboxEvent.ID], from name: String) -> OutboxStatement {
        let spans = PostgresSpans(rows)
        if spans.areDense { return deleteByRange(spans, from: name) }
        let delete = """
            DELETE FROM \(name) o USING unnest($1::smallint[], $2::bigint[]) AS done (slot, id)
            WHERE o.slot = done.slot AND o.id = done.id
            """
        return archived([delete], ids(rows))
    }

    /// One way through each slot's part of the index instead of one for each row. What was committed between them since they were read
    /// stays. Each slot by itself, and no join, for which the planner could choose to go through the whole table; and `+ 0`, so that
    /// the numbers are looked up in a hash, which PostgreSQL makes where it plans for these values, and not in the index.
    private func deleteByRange(_ spans: PostgresSpans, from name: String) -> OutboxStatement {
        var values: [OutboxValue] = []
        let deletions = spans.spans.map { span in
            let first = values.count + 1
            values += [
                .integer(Int64(span.slot)), .integer(span.first), .integer(span.last),
                .text(PostgresArray.integers(span.numbers)),
            ]
            return """
                DELETE FROM \(name) o WHERE o.slot = $\(first)::smallint
                    AND o.id BETWEEN $\(first + 1)::bigint AND $\(first + 2)::bigint
                    AND (o.id + 0) = ANY ($\(first + 3)::bigint[])
                """
        }
        return archived(deletions, values)
    }

    /// Deletions as one statement, which moves the rows into the archive where there is one.
    private func archived(_ deletions: [String], _ values: [OutboxValue]) -> OutboxStatement {
        if !archives, deletions.count == 1 { return OutboxStatement(deletions[0], values) }
        let columns = Self.columns.split(separator: ", ").map { "o.\($0)" }.joined(separator: ", ")
        let parts = deletions.enumerated().map { index, delete in
            "done\(index) AS (\(delete) RETURNING \(archives ? columns : "1"))"
        }
        let with = "WITH " + parts.joined(separator: ",\n")
        guard archives else { return OutboxStatement(with + "\nSELECT", values) }
        let rows = deletions.indices.map { "SELECT \(Self.columns) FROM done\($0)" }.joined(separator: " UNION ALL ")
        return OutboxStatement(with + "\nINSERT INTO \(table.name("_archive")) (\(Self.columns)) \(rows)", values)
    }

    /// What is stored of a moved row: its columns, and its number. Another row may have that, parked before numbers began anew (`TRUNCATE …
    /// RESTART IDENTITY`): then it is one of its own, far below, so that what follows with its key is behind it all the same.
    private var moved: String {
        let number = "moved.id - n * 4398046511104"
        let free = """
            (
                SELECT \(number) FROM generate_series(0, 30) n WHERE NOT EXISTS (
                    SELECT FROM \(table.name("_parked")) p WHERE p.slot = moved.slot AND p.id = \(number)
                ) ORDER BY n LIMIT 1
            )
            """
        return Self.columns.replacing("slot, id", with: "slot, \(free)")
    }

    /// Moves rows behind the parked ones of their key. They are to be sent with them where those were resumed, and where
    /// none of those is left.
    func follow(_ rows: [OutboxEvent.ID]) -> OutboxStatement {
        OutboxStatement(
            """
            WITH moved AS (
                DELETE FROM \(table.name()) o USING unnest($1::smallint[], $2::bigint[]) AS held (slot, id)
                WHERE o.slot = held.slot AND o.id = held.id
                RETURNING \(Self.columns.split(separator: ", ").map { "o.\($0)" }.joined(separator: ", "))
            )
            INSERT INTO \(table.name("_parked")) (\(Self.columns), attempts, reason, holds, action)
            SELECT \(moved), 0, 'it follows a parked event with its key', true, nullif(coalesce((
                SELECT CASE WHEN p.action IS NULL THEN 'wait' ELSE 'resume' END FROM \(table.name("_parked")) p
                WHERE p.slot = moved.slot AND sha256(p.key) = sha256(moved.key) AND p.key = moved.key
                    AND p.destination = moved.destination AND p.id < moved.id AND p.holds
                ORDER BY p.id DESC LIMIT 1
            ), 'resume'), 'wait')
            FROM moved
            """,
            ids(rows)
        )
    }

    /// The reason may have anything that a destination answered.
    private func storable(_ reason: String) -> String {
        let text = reason.replacing("\0", with: "")
        if isUTF8 { return text }
        return text.unicodeScalars.map { $0.isASCII ? String($0) : $0.escaped(asASCII: true) }.joined()
    }

    private func park(_ parking: OutboxSettlement.Parking) -> [OutboxStatement] {
        let event = parking.event
        let about: [OutboxValue] = [
            .integer(Int64(event.id.slot)), .integer(event.id.number), .integer(Int64(parking.attempts)),
            .text(storable(String(parking.reason.prefix(1_000)))),
        ]
        if event.origin == .outbox {
            let columns = Self.columns.split(separator: ", ").map { "o.\($0)" }.joined(separator: ", ")
            return [
                OutboxStatement(
                    """
                    WITH moved AS (
                        DELETE FROM \(table.name()) o WHERE o.slot = $1::smallint AND o.id = $2::bigint RETURNING \(columns)
                    )
                    INSERT INTO \(table.name("_parked")) (\(Self.columns), attempts, reason, holds)
                    SELECT \(moved), $3::int, $4::text, \(parking.withFollowers) FROM moved
                    """,
                    about
                )
            ]
        }
        // It was parked before, and resumed, and so were those behind it: they wait again.
        return [
            OutboxStatement(
                """
                WITH parked AS (
                    UPDATE \(table.name("_parked"))
                    SET attempts = $3::int, reason = $4::text, parked_at = clock_timestamp(), action = NULL
                    WHERE slot = $1::smallint AND id = $2::bigint AND action = 'resume' RETURNING key, destination, holds
                )
                UPDATE \(table.name("_parked")) p SET action = NULL FROM parked
                WHERE parked.holds AND p.slot = $1::smallint AND sha256(p.key) = sha256(parked.key) AND p.key = parked.key
                    AND p.destination = parked.destination AND p.id > $2::bigint AND p.action = 'resume'
                """,
                about
            )
        ]
    }
}
