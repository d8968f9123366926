import Foundation

#if SQLite
    import GRDB
    import OutboxDelivery
    import OutboxSQLite
#endif

/// A service that tests kill: stores a task and its event in one transaction, over and over, and writes a line for each commit.
@main struct OutboxSQLiteMember {
    static func main() async throws {
        #if SQLite
            let arguments = CommandLine.arguments
            guard arguments.count == 3 else { exit(64) }
            var configuration = GRDB.Configuration()
            configuration.busyMode = .timeout(30)
            let database = try DatabasePool(path: arguments[1], configuration: configuration)
            let outbox = try SQLiteOutbox(database)
            for number in 1... {
                let name = "\(arguments[2])-\(number)"
                try await database.write { db in
                    try db.execute(sql: "INSERT INTO task VALUES (?, ?)", arguments: [name, number])
                    try outbox.append(OutboxMessage(topic: "tasks", key: arguments[2], payload: name), in: db)
                }
                FileHandle.standardOutput.write(Data((name + "\n").utf8))
            }
        #else
            exit(69)
        #endif
    }
}
