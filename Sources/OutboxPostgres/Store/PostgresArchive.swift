internal import OutboxDelivery

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// Published rows that are kept for some days, in a partition for each, so that what is old goes away with one `DROP TABLE`.
struct PostgresArchive {
    let table: OutboxTable
    let days: Int

    /// Makes the partitions of today and the next two days, and drops those that are too old. Days are UTC's.
    func maintain(_ connection: LibpqConnection) async throws(OutboxError) {
        let rows = try await connection.run(
            OutboxStatement(
                """
                SELECT to_char(day, 'YYYYMMDD'), to_char(day, 'YYYY-MM-DD'), to_char(day + 1, 'YYYY-MM-DD')
                FROM (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date + n AS day FROM generate_series(0, 2) AS n) days
                """
            )
        )
        for row in 0..<rows.count {
            guard let suffix = rows.text(row, 0), let from = rows.text(row, 1), let to = rows.text(row, 2) else {
                continue
            }
            // Digits and hyphens of the server's own making: DDL takes no bound values.
            try await connection.run(
                OutboxStatement(
                    """
                    CREATE TABLE IF NOT EXISTS \(table.name("_archive_" + suffix)) PARTITION OF \(table.name("_archive"))
                    FOR VALUES FROM ('\(from) 00:00:00+00') TO ('\(to) 00:00:00+00')
                    """
                )
            )
        }
        let old = try await connection.run(
            OutboxStatement(
                """
                SELECT format('%I.%I', n.nspname, c.relname) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE i.inhparent = $1::regclass
                    AND right(c.relname, 8) < to_char((clock_timestamp() AT TIME ZONE 'UTC')::date - $2::int, 'YYYYMMDD')
                """,
                [.text(table.name("_archive")), .integer(Int64(days))]
            )
        )
        for row in 0..<old.count {
            if let name = old.text(row, 0) { try await connection.run(OutboxStatement("DROP TABLE IF EXISTS \(name)")) }
        }
    }
}
