import Foundation
import KafkaDelivery
import OutboxDelivery
import OutboxKafka
import OutboxPostgres

/// The same over PostgreSQL. The task and its event are one statement; a NOTIFY after the commit wakes the publisher.
final class PostgresWorkStore: WorkStore {
    private let connection: RenewedConnection
    private let postgresOutbox: PostgresOutbox
    private let inbox: PostgresInbox
    private let table: OutboxTable
    private let waker: OutboxWaker

    var outbox: any OutboxStore & OutboxAdministration { postgresOutbox }

    init(url: String, group: String) throws {
        let settings = LibpqSettings(url)
        connection = RenewedConnection(settings)
        let outbox = try PostgresOutbox(.init(settings))
        postgresOutbox = outbox
        table = outbox.configuration.table
        inbox = try PostgresInbox(.init(settings, consumer: group))
        waker = OutboxWaker { try await outbox.wake() }
    }

    func migrate() async throws {
        try await postgresOutbox.migrate()
        try await inbox.migrate()
        for statement in [
            "CREATE TABLE IF NOT EXISTS task (id text PRIMARY KEY, title text NOT NULL, state text NOT NULL, made timestamptz DEFAULT now())",
            "CREATE TABLE IF NOT EXISTS projection (kind text PRIMARY KEY, count bigint NOT NULL)",
        ] { try await connection.query(OutboxStatement(statement)) }
    }

    func create(_ title: String) async throws -> WorkItem {
        let item = WorkItem(id: UUID().uuidString.lowercased(), title: title, state: "open")
        let change = OutboxStatement(
            "INSERT INTO task (id, title, state) VALUES ($1, $2, $3) RETURNING id",
            [.text(item.id), .text(item.title), .text(item.state)]
        )
        try await connection.query(table.insert(.event("created", item), with: change))
        waker.wake()
        return item
    }

    func finish(_ id: String) async throws -> WorkItem? {
        let found = try await connection.query(OutboxStatement("SELECT title FROM task WHERE id = $1", [.text(id)]))
        guard let title = found.text(0, 0) else { return nil }
        let item = WorkItem(id: id, title: title, state: "done")
        let change = OutboxStatement(
            "UPDATE task SET state = 'done' WHERE id = $1 AND state = 'open' RETURNING id",
            [.text(id)]
        )
        let stored = try await connection.query(table.insert(.event("done", item), with: change))
        waker.wake()
        return stored.affected == 1 ? item : nil
    }

    func items() async throws -> [WorkItem] {
        let rows = try await connection.query(OutboxStatement("SELECT id, title, state FROM task ORDER BY made"))
        return (0..<rows.count).map { row in
            WorkItem(id: rows.text(row, 0) ?? "", title: rows.text(row, 1) ?? "", state: rows.text(row, 2) ?? "")
        }
    }

    func projection() async throws -> Projection {
        let rows = try await connection.query(OutboxStatement("SELECT kind, count FROM projection"))
        return Projection(
            Dictionary(
                uniqueKeysWithValues: (0..<rows.count).map { (rows.text($0, 0) ?? "", Int(rows.integer($0, 1) ?? 0)) }
            )
        )
    }

    func begin(_ configuration: inout KafkaConsumer.Configuration) {
        configuration.begin(at: inbox)
    }

    func consume(_ consumer: KafkaConsumer) async throws {
        try await consumer.forEach(inbox: inbox) { [table, waker] delivery, transaction in
            let event = try delivery.workEvent
            try await transaction.query(
                OutboxStatement(
                    """
                    INSERT INTO projection VALUES ($1, 1)
                    ON CONFLICT (kind) DO UPDATE SET count = projection.count + 1
                    """,
                    [.text(event.kind)]
                )
            )
            try await transaction.query(table.insert(.hook(event)))
            // A notification that comes before the commit costs a poll interval, and no message.
            waker.wake()
        }
    }
}
