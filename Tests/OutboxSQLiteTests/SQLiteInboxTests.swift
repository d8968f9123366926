#if SQLite
    import GRDB
    import OutboxDelivery
    import OutboxSQLite
    import Testing

    @Suite(.timeLimit(.minutes(5))) struct SQLiteInboxTests {
        private func receive(_ inbox: SQLiteInbox, _ offset: Int64, _ key: String) async throws -> Bool {
            let place = InboxPlace(topic: "t", partition: 0)
            let message = InboxMessage(place: place, offset: offset, idempotencyKey: Array(key.utf8))
            return try await inbox.receive([message]) { _, _ in } == [0]
        }

        @Test func aConsumerWithAShortMemoryForgetsItsOwnKeysOnly() async throws {
            let file = try TemporaryDatabase()
            let database = try file.open()
            var settings = SQLiteInbox.Configuration()
            let long = try SQLiteInbox(database, consumer: "long", settings)
            settings.rememberFor = .seconds(60)
            let short = try SQLiteInbox(database, consumer: "short", settings)
            #expect(try await long.migrate() == [1, 2])
            for inbox in [long, short] { #expect(try await receive(inbox, 0, "k")) }
            try await database.write { try $0.execute(sql: "UPDATE inbox_seen SET at = at - 3600000") }
            for offset in 1..<4 as Range<Int64> { #expect(try await receive(short, offset, "\(offset)")) }
            #expect(try await !receive(long, 1, "k"))
            #expect(try await receive(short, 4, "k"))
        }

        @Test func anEffectIsNotStoredWithoutItsOffset() async throws {
            let file = try TemporaryDatabase()
            let database = try file.open()
            let inbox = try SQLiteInbox(database, consumer: "c")
            try await inbox.migrate()
            try await database.write { db in
                try db.execute(sql: "CREATE TABLE effect (number INTEGER)")
                try db.execute(
                    sql: "CREATE TRIGGER hold BEFORE INSERT ON inbox_offset BEGIN SELECT RAISE(IGNORE); END"
                )
            }
            let place = InboxPlace(topic: "t", partition: 3)
            let receive = {
                try await inbox.receive([InboxMessage(place: place, offset: 0, idempotencyKey: [1])]) { db, _ in
                    try db.execute(sql: "INSERT INTO effect VALUES (0)")
                }
            }
            let error = await #expect(throws: OutboxError.self) { try await receive() }
            #expect(error?.kind == .fenced && error?.recovery == .retry && error?.persistence == .notPersisted)
            #expect(try await database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM effect") } == 0)
            try await database.write { try $0.execute(sql: "DROP TRIGGER hold") }
            #expect(try await receive() == [0])
            #expect(try await inbox.nextOffset(of: place) == 1)
        }

        @Test func anInboxOfTheFirstVersionKeepsWhatItKnows() async throws {
            let file = try TemporaryDatabase()
            let database = try file.open()
            let inbox = try SQLiteInbox(database, consumer: "c")
            let newer = Set(inbox.migrations(from: 1))
            try await database.write { db in
                for statement in inbox.migrations() where !newer.contains(statement) { try db.execute(sql: statement) }
            }
            #expect(try await receive(inbox, 0, "k"))
            #expect(try await inbox.migrate() == [2])
            #expect(try await !receive(inbox, 1, "k"))
            #expect(try await inbox.nextOffset(of: InboxPlace(topic: "t", partition: 0)) == 2)
        }
    }
#endif
