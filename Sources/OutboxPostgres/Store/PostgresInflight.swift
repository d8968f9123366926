internal import OutboxDelivery

/// The notes of batches that are stored exactly once. They run in the publisher's session, and so only while that has its slots.
struct PostgresInflight {
    let table: OutboxTable
    let connection: LibpqConnection

    func last(slot: Int, destination: String) async throws(OutboxError) -> OutboxInflight? {
        let rows = try await connection.query(
            OutboxStatement(
                """
                SELECT batch, topic, array_to_string(ids, ','), noted_at FROM \(table.name("_inflight"))
                WHERE slot = $1::smallint AND destination = $2::text
                """,
                [.integer(Int64(slot)), .text(destination)]
            )
        )
        guard let number = rows.integer(0, 0), let topic = rows.text(0, 1), let ids = rows.text(0, 2) else {
            return nil
        }
        return OutboxInflight(
            slot: slot,
            destination: destination,
            number: number,
            topic: topic,
            rows: ids.split(separator: ",").compactMap { Int64($0) },
            notedAt: rows.integer(0, 3).map(PostgresReading.date)
        )
    }

    /// - Throws: `fenced` where the last batch has this number, or a greater one.
    func note(_ inflight: OutboxInflight) async throws(OutboxError) {
        let rows = try await connection.query(
            OutboxStatement(
                """
                INSERT INTO \(table.name("_inflight")) AS i (slot, destination, batch, topic, ids)
                VALUES ($1::smallint, $2::text, $3::bigint, $4::text, $5::bigint[])
                ON CONFLICT (slot, destination) DO UPDATE
                SET batch = excluded.batch, topic = excluded.topic, ids = excluded.ids, noted_at = excluded.noted_at
                WHERE i.batch < excluded.batch
                """,
                [
                    .integer(Int64(inflight.slot)), .text(inflight.destination), .integer(inflight.number),
                    .text(inflight.topic), .text(PostgresArray.integers(inflight.rows)),
                ]
            )
        )
        guard rows.affected == 1 else { throw Self.fenced }
    }

    static let fenced = OutboxError(
        kind: .fenced,
        persistence: .notPersisted,
        recovery: .retry,
        reason: "another session has the slot: its last batch is a later one"
    )
}
