import Foundation
import GRDB
import KafkaDelivery
import OutboxDelivery
import OutboxKafka
import OutboxSQLite

struct SQLiteWorkStore: WorkStore {
    private let database: DatabasePool
    private let sqliteOutbox: SQLiteOutbox
    private let inbox: SQLiteInbox

    var outbox: any OutboxStore & OutboxAdministration { sqliteOutbox }

    init(path: String, group: String) throws {
        var settings = GRDB.Configuration()
        settings.busyMode = .timeout(10)
        database = try DatabasePool(path: path, configuration: settings)
        sqliteOutbox = try SQLiteOutbox(database)
        inbox = try SQLiteInbox(database, consumer: group)
    }

    func migrate() async throws {
        try await sqliteOutbox.migrate()
        try await inbox.migrate()
        try await database.write { db in
            try db.execute(
                sql: "CREATE TABLE IF NOT EXISTS task (id TEXT PRIMARY KEY, title TEXT NOT NULL, state TEXT NOT NULL)"
            )
            try db.execute(sql: "CREATE TABLE IF NOT EXISTS projection (kind TEXT PRIMARY KEY, count INTEGER NOT NULL)")
        }
    }

    func create(_ title: String) async throws -> WorkItem {
        let item = WorkItem(id: UUID().uuidString.lowercased(), title: title, state: "open")
        try await database.write { db in
            try db.execute(sql: "INSERT INTO task VALUES (?, ?, ?)", arguments: [item.id, item.title, item.state])
            try sqliteOutbox.append(.event("created", item), in: db)
        }
        return item
    }

    func finish(_ id: String) async throws -> WorkItem? {
        try await database.write { db in
            try db.execute(sql: "UPDATE task SET state = 'done' WHERE id = ? AND state = 'open'", arguments: [id])
            guard db.changesCount == 1,
                let row = try Row.fetchOne(db, sql: "SELECT * FROM task WHERE id = ?", arguments: [id])
            else { return nil }
            let item = WorkItem(id: row["id"], title: row["title"], state: row["state"])
            try sqliteOutbox.append(.event("done", item), in: db)
            return item
        }
    }

    func items() async throws -> [WorkItem] {
        try await database.read { db in
            try Row.fetchAll(db, sql: "SELECT * FROM task ORDER BY rowid").map {
                WorkItem(id: $0["id"], title: $0["title"], state: $0["state"])
            }
        }
    }

    func projection() async throws -> Projection {
        let counts = try await database.read { db in
            try Row.fetchAll(db, sql: "SELECT kind, count FROM projection").reduce(into: [String: Int]()) {
                $0[$1["kind"]] = $1["count"]
            }
        }
        return Projection(counts)
    }

    func begin(_ configuration: inout KafkaConsumer.Configuration) {
        configuration.begin(at: inbox)
    }

    func consume(_ consumer: KafkaConsumer) async throws {
        try await consumer.forEach(inbox: inbox) { delivery, db in
            let event = try delivery.workEvent
            try db.execute(
                sql: "INSERT INTO projection VALUES (?, 1) ON CONFLICT (kind) DO UPDATE SET count = count + 1",
                arguments: [event.kind]
            )
            try sqliteOutbox.append(.hook(event), in: db)
        }
    }
}

extension Projection {
    init(_ counts: [String: Int]) {
        let (created, done) = (counts["created"] ?? 0, counts["done"] ?? 0)
        self.init(open: created - done, done: done, events: created + done)
    }
}
