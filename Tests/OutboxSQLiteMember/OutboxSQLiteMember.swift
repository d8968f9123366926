import Foundation

#if SQLite
    import GRDB
    import Logging
    import OutboxDelivery
    import OutboxSQLite
#endif

/// What tests kill: a service or a publisher.
///
///     OutboxSQLiteMember write DATABASE NAME     stores a task and its event in one transaction, over and over, a line for each commit
///     OutboxSQLiteMember publish DATABASE        writes a line for each event that it delivers, for each byte that it reads
@main struct OutboxSQLiteMember {
    static func main() async throws {
        #if SQLite
            let arguments = CommandLine.arguments
            guard arguments.count >= 3 else { exit(64) }
            var settings = GRDB.Configuration()
            settings.busyMode = .timeout(30)
            let database = try DatabasePool(path: arguments[2], configuration: settings)
            var configuration = SQLiteOutbox.Configuration()
            configuration.lease = .seconds(1)
            let outbox = try SQLiteOutbox(database, configuration)
            switch (arguments[1], arguments.count) {
            case ("write", 4): try await write(database, outbox, arguments[3])
            case ("publish", 3):
                var logger = Logger(label: "member")
                logger.logLevel = .critical
                try await OutboxPublisher(store: outbox, destinations: ["kafka": Lines()], logger: logger).run()
            default: exit(64)
            }
        #else
            exit(69)
        #endif
    }

    #if SQLite
        private static func write(_ database: DatabasePool, _ outbox: SQLiteOutbox, _ name: String) async throws {
            for number in 1... {
                let text = "\(name)-\(number)"
                try await database.write { db in
                    try db.execute(sql: "INSERT INTO task VALUES (?, ?)", arguments: [text, number])
                    try outbox.append(OutboxMessage(topic: "tasks", key: name, payload: text), in: db)
                }
                FileHandle.standardOutput.write(Data((text + "\n").utf8))
            }
        }

        /// Has an event once its line is written, which needs a byte of standard input, until that ends.
        private struct Lines: OutboxDestination {
            func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
                batch.map { event in
                    _ = try? FileHandle.standardInput.read(upToCount: 1)
                    let text = String(decoding: event.message.payload ?? [], as: UTF8.self)
                    FileHandle.standardOutput.write(Data("\(text) \(event.message.idempotencyKey)\n".utf8))
                    return .accepted(OutboxReceipt(place: "stdout"))
                }
            }
        }
    #endif
}
