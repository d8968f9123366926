internal import OutboxDelivery
internal import Synchronization

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// Published rows that are kept for some days, in a partition for each, so that what is old goes away with one `DROP TABLE`.
struct PostgresArchive {
    /// When the partitions were looked after, by any session of an outbox. On a connection of its own: what it waits for, a report that
    /// reads the archive, is nothing that publishing should wait for.
    final class Upkeep: Sendable {
        /// For how long a session that begins tries to make a partition whose locks others have.
        private static let patience = Duration.seconds(5)

        /// What such an attempt may meet: a lock, or another process that makes the same partition.
        private static let passing: Set = ["55P03", "23505", "42P07", "42809"]

        // Sessions of the outbox meet here.
        private let next = Mutex<ContinuousClock.Instant?>(nil)

        /// Makes and drops partitions where that is due: each hour, and after a minute where it was not possible.
        func maintain(_ archive: PostgresArchive, _ settings: LibpqSettings, at now: ContinuousClock.Instant) async {
            let isDue = next.withLock { next in
                if let time = next, time > now { return false }
                next = now.advanced(by: .seconds(60))
                return true
            }
            // Where it fails the partitions of two more days are there, and what is old is dropped later.
            if isDue { _ = await attempt(archive, settings, at: now) }
        }

        /// Before a session begins: without a place for what it archives it could delete nothing.
        ///
        /// - Parameter connection: The session's.
        /// - Throws: ``OutboxError``: `invalidConfiguration` where the role may not make today's partition, `unavailable` where that was not
        ///   possible just now.
        func prepare(
            _ archive: PostgresArchive,
            _ settings: LibpqSettings,
            for connection: LibpqConnection
        ) async throws(OutboxError) {
            let now = ContinuousClock.now
            if try await archive.hasPlace(connection) { return await maintain(archive, settings, at: now) }
            guard var error = await attempt(archive, settings, at: now, locksWithin: .seconds(1)) else { return }
            // Another process may have made it meanwhile, or is about to.
            while true {
                if try await archive.hasPlace(connection) { return }
                guard Self.passing.contains(error.code ?? ""), now.duration(to: .now) < Self.patience else { break }
                // Time is what is waited for: another process's transaction does not say when it ends.
                try? await Task.sleep(for: .milliseconds(50))
                guard let next = await attempt(archive, settings, at: now, locksWithin: .seconds(1)) else { return }
                error = next
            }
            if error.recovery == .fixRequest {
                throw PostgresRights.refused(
                    "let the publisher's role own the archive and create tables in its schema, or make its partitions yourself",
                    error
                )
            }
            throw OutboxError(
                kind: .unavailable,
                persistence: nil,
                recovery: .retry,
                reason: "the archive's partition of today could not be made: \(error.reason)",
                code: error.code
            )
        }

        /// - Returns: Why it did not work.
        private func attempt(
            _ archive: PostgresArchive,
            _ settings: LibpqSettings,
            at now: ContinuousClock.Instant,
            locksWithin patience: Duration = .milliseconds(100)
        ) async -> OutboxError? {
            do throws(OutboxError) {
                let connection = try await LibpqConnection.open(settings)
                do throws(OutboxError) {
                    try await archive.maintain(connection, locksWithin: patience)
                } catch {
                    await connection.close()
                    throw error
                }
                await connection.close()
            } catch {
                return error
            }
            next.withLock { $0 = now.advanced(by: .seconds(3_600)) }
            return nil
        }
    }

    let table: OutboxTable
    let days: Int

    /// What undoes the row that is tried.
    private struct Tried: Error {}

    /// Whether a row that is archived now has a partition, whoever made it: one is stored, and that taken back.
    func hasPlace(_ connection: LibpqConnection) async throws(OutboxError) -> Bool {
        let columns = PostgresReading.columns
        do {
            try await connection.withTransaction { transaction in
                try await transaction.query(OutboxStatement("SET LOCAL lock_timeout = '100ms'"))
                try await transaction.query(
                    OutboxStatement(
                        "INSERT INTO \(table.name("_archive")) (\(columns)) "
                            + "VALUES (-1, 0, '', '', '', NULL, NULL, '[]', clock_timestamp())"
                    )
                )
                throw Tried()
            }
        } catch let error as OutboxError {
            switch error.code {
            // check_violation: no partition of the table for that time.
            case "23514": return false
            // A person has the table locked for now, which says nothing of its partitions.
            case "55P03": return true
            default: throw error
            }
        } catch is Tried {
            return true
        } catch {
            throw LibpqFailure.cancelled
        }
        return true
    }

    /// Makes the partitions of today and the next two days, and drops those that are too old. Days are UTC's.
    ///
    /// A partition is made by itself and attached, for which nothing has to wait that reads or writes the archive but its default
    /// partition, where it has one; a drop waits for no more than a moment for those that read it, for everything else would wait behind it.
    ///
    /// - Parameter patience: For how long a partition that is made may wait for a lock.
    func maintain(_ connection: LibpqConnection, locksWithin patience: Duration) async throws(OutboxError) {
        let timeout = String(Int(patience / .milliseconds(1)))
        try await connection.query(
            OutboxStatement(
                "SELECT set_config('lock_timeout', $1, false), set_config('statement_timeout', '30s', false)",
                [.text(timeout)]
            )
        )
        let archive = table.name("_archive")
        let rows = try await connection.query(
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
            let name = table.name("_archive_" + suffix)
            let attached = try await connection.query(
                OutboxStatement(
                    "SELECT count(*) FROM pg_inherits WHERE inhparent = $1::regclass AND inhrelid = to_regclass($2)",
                    [.text(archive), .text(name)]
                )
            )
            if attached.integer(0, 0) ?? 0 > 0 { continue }
            // Digits and hyphens of the server's own making: DDL takes no bound values.
            for statement in [
                "CREATE TABLE IF NOT EXISTS \(name) (LIKE \(archive) INCLUDING ALL)",
                """
                ALTER TABLE \(archive) ATTACH PARTITION \(name)
                FOR VALUES FROM ('\(from) 00:00:00+00') TO ('\(to) 00:00:00+00')
                """,
            ] {
                try await connection.query(OutboxStatement(statement))
            }
        }
        let old = try await connection.query(
            OutboxStatement(
                """
                SELECT format('%I.%I', n.nspname, c.relname) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE i.inhparent = $1::regclass
                    AND right(c.relname, 8) < to_char((clock_timestamp() AT TIME ZONE 'UTC')::date - $2::int, 'YYYYMMDD')
                """,
                [.text(archive), .integer(Int64(days))]
            )
        )
        guard old.count > 0 else { return }
        try await connection.query(OutboxStatement("SET lock_timeout = '100ms'"))
        for row in 0..<old.count {
            if let name = old.text(row, 0) {
                try await connection.query(OutboxStatement("DROP TABLE IF EXISTS \(name)"))
            }
        }
    }
}
