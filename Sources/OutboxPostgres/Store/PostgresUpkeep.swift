internal import OutboxDelivery

/// The statements with which a session looks after its slots. No state: what they find is the session's to keep.
struct PostgresUpkeep {
    private let outbox: PostgresOutbox.Configuration
    private let connection: LibpqConnection
    private let relation: Int64
    private let sequence: String

    init(_ outbox: PostgresOutbox.Configuration, _ connection: LibpqConnection, relation: Int64, sequence: String) {
        self.outbox = outbox
        self.connection = connection
        self.relation = relation
        self.sequence = sequence
    }

    /// The last number that was drawn, and which transactions may have rows with such numbers that are not decided.
    func lastNumberAndHolders() async throws(OutboxError) -> (last: Int64?, holders: Set<String>) {
        // The holder is named by its virtual transaction alone: that stays when the transaction is prepared, while its process becomes NULL.
        // In this order, and in two statements: a transaction that drew a number up to `last` is among the holders or has ended.
        let sequence = try await connection.query(
            OutboxStatement("SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM \(sequence)")
        )
        let locks = try await connection.query(
            OutboxStatement(
                """
                SELECT virtualtransaction FROM pg_locks
                WHERE locktype = 'relation' AND relation = $1::oid AND mode = 'RowExclusiveLock' AND granted
                    AND pid IS DISTINCT FROM pg_backend_pid()
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                """,
                [.integer(relation)]
            )
        )
        return (sequence.integer(0, 0), Set((0..<locks.count).compactMap { locks.text($0, 0) }))
    }

    /// The first row of a slot that is above its floor.
    struct Head {
        var slot: Int
        var number: Int64?
        var destination: String?
        var age: Duration?
    }

    func heads(_ lanes: [(slot: Int, floor: Int64)], of destination: String?) async throws(OutboxError) -> [Head] {
        let condition = destination == nil ? "$3::text IS NULL" : "o.destination = $3::text"
        let rows = try await connection.query(
            OutboxStatement(
                """
                SELECT lane.slot::bigint, head.id, head.destination,
                    CASE WHEN isfinite(head.created_at)
                        THEN (extract(epoch FROM clock_timestamp() - head.created_at) * 1000)::bigint END
                FROM unnest($1::smallint[], $2::bigint[]) AS lane (slot, floor)
                LEFT JOIN LATERAL (
                    SELECT o.id, o.destination, o.created_at FROM \(outbox.table.name()) o
                    WHERE o.slot = lane.slot AND o.id > lane.floor AND \(condition) ORDER BY o.id LIMIT 1
                ) head ON true
                """,
                [
                    .text(PostgresArray.integers(lanes.map { Int64($0.slot) })),
                    .text(PostgresArray.integers(lanes.map(\.floor))),
                    destination.map { .text($0) } ?? .null,
                ]
            )
        )
        return (0..<rows.count).compactMap { row in
            guard let slot = rows.integer(row, 0) else { return nil }
            return Head(
                slot: Int(slot),
                number: rows.integer(row, 1),
                destination: rows.text(row, 2),
                age: rows.integer(row, 3).map { .milliseconds(max(0, $0)) }
            )
        }
    }

    /// How many rows of each slot are at its floor or below; nil where there is no floor. Counts no more than 1,000.
    func below(_ lanes: [(lane: PostgresFloor.Lane, floor: Int64)]) async throws(OutboxError) -> LibpqRows? {
        let slots = lanes.filter { $0.lane.destination != nil }
        guard !slots.isEmpty else { return nil }
        return try await connection.query(
            OutboxStatement(
                """
                SELECT lane.slot::bigint, low.count
                FROM unnest($1::smallint[], $2::bigint[], $3::text[]) AS lane (slot, floor, destination)
                CROSS JOIN LATERAL (
                    SELECT count(*) FROM (
                        SELECT FROM \(outbox.table.name()) o
                        WHERE o.slot = lane.slot AND o.id <= lane.floor AND o.destination = lane.destination LIMIT 1000
                    ) o
                ) low WHERE low.count > 0
                """,
                [
                    .text(PostgresArray.integers(slots.map { Int64($0.lane.slot) })),
                    .text(PostgresArray.integers(slots.map(\.floor))),
                    .text(PostgresArray.texts(slots.compactMap(\.lane.destination))),
                ]
            )
        )
    }
}
