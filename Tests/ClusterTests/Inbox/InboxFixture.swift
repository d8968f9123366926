#if SQLite
    import DeliveryTesting
    import Foundation
    import GRDB
    import KafkaDelivery
    import OutboxDelivery
    import OutboxKafka
    import OutboxSQLite

    /// A consumer's database: effects, and the inbox beside them.
    final class InboxFixture: Sendable {
        private let folder: URL
        let path: String
        let database: DatabasePool

        init() async throws {
            folder = FileManager.default.temporaryDirectory.appendingPathComponent("inbox-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            path = folder.appendingPathComponent("consumer.sqlite").path
            var settings = GRDB.Configuration()
            settings.busyMode = .timeout(30)
            database = try DatabasePool(path: path, configuration: settings)
            try await database.write { db in
                try db.execute(
                    sql:
                        "CREATE TABLE effect (id INTEGER PRIMARY KEY AUTOINCREMENT, part INTEGER NOT NULL, text TEXT NOT NULL)"
                )
            }
        }

        deinit {
            try? FileManager.default.removeItem(at: folder)
        }

        func inbox(_ consumer: String) async throws -> SQLiteInbox {
            let inbox = try SQLiteInbox(database, consumer: consumer)
            try await inbox.migrate()
            return inbox
        }

        /// What was done, in its order.
        func effects(of partition: Int? = nil) async throws -> [String] {
            try await database.read { db in
                try String.fetchAll(
                    db,
                    sql: "SELECT text FROM effect WHERE ?1 IS NULL OR part = ?1 ORDER BY id",
                    arguments: [partition]
                )
            }
        }

        func effectCount() async throws -> Int {
            try await database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM effect") ?? 0 }
        }

        @Sendable static func note(_ delivery: KafkaConsumer.Delivery, _ db: Database) throws {
            try db.execute(
                sql: "INSERT INTO effect (part, text) VALUES (?, ?)",
                arguments: [delivery.partition, delivery.value.map { String(decoding: $0.array, as: UTF8.self) }]
            )
        }

        /// A process of its own that notes effects. It names its partitions: a group would let it wait for the one that was killed.
        func member(_ cluster: TestCluster, _ consumer: String, _ topic: String, partitions: Int) throws -> ChildProcess
        {
            let tests = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
            return try ChildProcess(
                tests.appendingPathComponent("InboxMember").path,
                [
                    path, cluster.bootstrapServers.joined(separator: ","), topic, consumer, "\(partitions)",
                ]
            )
        }
    }
#endif
