internal import OutboxDelivery

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// What a person sees of an outbox.
struct PostgresStatus {
    private let configuration: PostgresOutbox.Configuration
    private let connection: LibpqConnection

    init(_ configuration: PostgresOutbox.Configuration, _ connection: LibpqConnection) {
        self.configuration = configuration
        self.connection = connection
    }

    private var table: OutboxTable { configuration.table }

    func read() async throws(OutboxError) -> OutboxStatus {
        let version = try await PostgresCheck.version(table) { statement throws(OutboxError) in
            try await connection.query(statement)
        }
        guard version > 0 else {
            throw OutboxError(
                kind: .schemaVersion,
                persistence: nil,
                recovery: .fixRequest,
                reason: "migrate first: there are no tables of an outbox"
            )
        }
        let parked = try await connection.query(
            OutboxStatement(
                """
                SELECT count(*), count(DISTINCT (destination, coalesce(key, ''))), clock_timestamp()
                FROM \(table.name("_parked"))
                """
            )
        )
        return OutboxStatus(
            schemaVersion: version,
            waiting: try await waiting(),
            publishers: try await publishers(),
            parkedCount: Int(parked.integer(0, 0) ?? 0),
            parkedKeyCount: Int(parked.integer(0, 1) ?? 0),
            readAt: PostgresReading.date(parked.integer(0, 2) ?? 0)
        )
    }

    private func waiting() async throws(OutboxError) -> [OutboxStatus.Waiting] {
        let rows = try await connection.query(
            OutboxStatement(
                """
                SELECT destination, topic, count(*), min(created_at) FROM \(table.name())
                GROUP BY destination, topic ORDER BY destination, topic
                """
            )
        )
        return (0..<rows.count).map { row in
            OutboxStatus.Waiting(
                destination: rows.text(row, 0) ?? "",
                topic: rows.text(row, 1) ?? "",
                count: Int(rows.integer(row, 2) ?? 0),
                oldest: rows.integer(row, 3).map(PostgresReading.date)
            )
        }
    }

    private func publishers() async throws(OutboxError) -> [OutboxStatus.Publisher] {
        let rows = try await connection.query(
            OutboxStatement(
                """
                SELECT l.pid::bigint, coalesce(a.application_name, ''), coalesce(host(a.client_addr), 'local'), a.backend_start,
                    array_to_string(array_agg(l.objid::bigint ORDER BY l.objid) FILTER (WHERE l.objid < 32), ',')
                FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
                WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = $1::regclass::oid AND l.granted
                    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                GROUP BY l.pid, a.application_name, a.client_addr, a.backend_start ORDER BY a.backend_start, l.pid
                """,
                [.text(table.name())]
            )
        )
        return (0..<rows.count).map { row in
            let name = rows.text(row, 1) ?? ""
            return OutboxStatus.Publisher(
                name: "\(name.isEmpty ? "publisher" : name) \(rows.text(row, 2) ?? "") (\(rows.integer(row, 0) ?? 0))",
                slots: (rows.text(row, 4) ?? "").split(separator: ",").compactMap { Int($0) },
                since: rows.integer(row, 3).map(PostgresReading.date)
            )
        }
    }

    func parked(key: [UInt8]?, limit: Int) async throws(OutboxError) -> [OutboxParkedEvent] {
        let columns = PostgresReading.columns.replacing("headers", with: "headers::text")
        let rows = try await connection.query(
            OutboxStatement(
                """
                SELECT \(columns), attempts::bigint, reason, parked_at, action FROM \(table.name("_parked"))
                WHERE $1::bytea IS NULL OR (sha256(key) = sha256($1::bytea) AND key = $1::bytea)
                ORDER BY attempts = 0, id LIMIT $2::bigint
                """,
                [key.map { .bytes($0) } ?? .null, .integer(Int64(max(limit, 0)))]
            )
        )
        var result: [OutboxParkedEvent] = []
        for row in 0..<rows.count {
            result.append(
                OutboxParkedEvent(
                    event: try PostgresReading.event(rows, row, origin: .parked),
                    attempts: Int(rows.integer(row, 9) ?? 0),
                    reason: rows.text(row, 10) ?? "",
                    parkedAt: PostgresReading.date(rows.integer(row, 11) ?? 0),
                    action: rows.text(row, 12).flatMap(OutboxParkedAction.init)
                )
            )
        }
        return result
    }
}
