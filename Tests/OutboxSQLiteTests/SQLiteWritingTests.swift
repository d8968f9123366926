#if SQLite
    import GRDB
    import OutboxDelivery
    import OutboxSQLite
    import Testing

    @Suite(.timeLimit(.minutes(5))) struct SQLiteWritingTests {
        struct Rollback: Error {}

        @Test func aMessageIsReadOnceItsTransactionIsCommitted() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let id = try await service.database.write { db in
                try db.execute(sql: "INSERT INTO task VALUES ('a', 1)")
                return try service.outbox.append(.of("a", "created"), in: db)
            }
            let events = try await session.all()
            #expect(events.map(\.id) == [id])
            #expect(events.texts == ["created"])
        }

        @Test func aMessageThatIsRolledBackIsNeverRead() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            await #expect(throws: Rollback.self) {
                try await service.database.write { db in
                    try db.execute(sql: "INSERT INTO task VALUES ('a', 1)")
                    try service.outbox.append(.of("a", "rolled back"), in: db)
                    throw Rollback()
                }
            }
            #expect(try await session.all().isEmpty)
            #expect(try await service.outbox.status().backlog == 0)
        }

        @Test func aMessageThatIsRolledBackToASavepointIsNeverRead() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            try await service.database.write { db in
                try service.outbox.append(.of("a", "before"), in: db)
                try db.inSavepoint {
                    try service.outbox.append(.of("a", "rolled back"), in: db)
                    return .rollback
                }
                try? db.inSavepoint {
                    try service.outbox.append(.of("b", "rolled back, too"), in: db)
                    throw Rollback()
                }
                try db.inSavepoint {
                    try service.outbox.append(.of("a", "after"), in: db)
                    return .commit
                }
            }
            #expect(try await session.all().texts == ["before", "after"])
        }

        @Test func aMessageOutsideOfATransactionIsRefused() async throws {
            let service = try await Service()
            let error = try await service.database.writeWithoutTransaction { db in
                #expect(throws: OutboxError.self) { try service.outbox.append(.of("a", "x"), in: db) }
            }
            #expect(error?.kind == .invalidConfiguration)
            #expect(try await service.outbox.status().backlog == 0)
        }

        @Test func aConnectionThatMayLoseACommitIsRefusedWhenItWritesAndWhenAPublisherStarts() async throws {
            let service = try await Service()
            #expect(
                try await service.database.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA synchronous") }
                    == 2
            )
            try await service.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = NORMAL") }
            let error = await #expect(throws: OutboxError.self) {
                try await service.database.write { db in try service.outbox.append(.of("a", "x"), in: db) }
            }
            #expect(error?.kind == .invalidConfiguration)
            #expect(error?.recovery == .fixRequest)
            #expect(error?.reason.contains("synchronous") == true)
            await #expect(throws: OutboxError.self) { try await service.outbox.openSession() }
            // A new outbox sets it again.
            let outbox = try SQLiteOutbox(service.database)
            _ = try await outbox.openSession()
        }

        @Test(arguments: ["MEMORY", "OFF"]) func aJournalThatIsLostInACrashIsRefused(mode: String) async throws {
            let file = try TemporaryDatabase()
            let database = try DatabaseQueue(path: file.path)
            try await database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = \(mode)") }
            let outbox = try SQLiteOutbox(database)
            try await outbox.migrate()
            let error = await #expect(throws: OutboxError.self) { try await outbox.openSession() }
            #expect(error?.kind == .invalidConfiguration)
            #expect(error?.reason.contains(mode) == true)
        }

        @Test func aDatabaseInMemoryIsForTests() async throws {
            let database = try DatabaseQueue()
            let outbox = try SQLiteOutbox(database)
            try await outbox.migrate()
            let session = try await outbox.openSession()
            _ = try await session.balance(busy: [])
            try await database.write { db in _ = try outbox.append(.of("a", "x"), in: db) }
            #expect(try await session.all().texts == ["x"])
        }

        // MARK: The schema

        @Test func migratingAgainChangesNothingAndAMissingSchemaIsNamed() async throws {
            let file = try TemporaryDatabase()
            let outbox = try SQLiteOutbox(file.open())
            let missing = await #expect(throws: OutboxError.self) { try await outbox.openSession() }
            #expect(missing?.kind == .schemaVersion)
            #expect(missing?.recovery == .fixRequest)
            #expect(try await outbox.migrate() == [1, 2])
            #expect(try await outbox.migrate() == [])
            #expect(try await outbox.status().schemaVersion == 2)
        }

        @Test func tablesOfANewerVersionAreRefused() async throws {
            let service = try await Service()
            try await service.database.write { try $0.execute(sql: "INSERT INTO outbox_schema VALUES (99)") }
            #expect(
                await #expect(throws: OutboxError.self) { try await service.outbox.openSession() }?.kind
                    == .schemaVersion
            )
            #expect(
                await #expect(throws: OutboxError.self) { try await service.outbox.migrate() }?.kind == .schemaVersion
            )
            #expect(
                await #expect(throws: OutboxError.self) { try await service.outbox.status() }?.kind == .schemaVersion
            )
        }

        @Test func theStatementsForOtherMigratorsMakeTheSameTables() async throws {
            let schema = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'outbox%' ORDER BY name"
            let service = try await Service()
            let other = try DatabaseQueue()
            try await other.write { db in
                for statement in service.outbox.migrations() { try db.execute(sql: statement) }
            }
            let made = try await service.database.read { try Row.fetchAll($0, sql: schema).map(\.description) }
            let printed = try await other.read { try Row.fetchAll($0, sql: schema).map(\.description) }
            #expect(made == printed)
            #expect(made.count >= 6)
            #expect(service.outbox.migrations(from: 2) == [])
        }

        @Test(
            arguments: [
                { $0.lease = .milliseconds(10) }, { $0.lease = .seconds(1_000_000) }, { $0.pollInterval = .zero },
                { $0.archiveDays = 0 },
                { $0.prefix = "" },
                { $0.prefix = "a\0b" }, { $0.publisherName = String(repeating: "x", count: 300) },
            ] as [@Sendable (inout SQLiteOutbox.Configuration) -> Void]
        )
        func aSettingThatCannotBeUsedIsRefused(change: @Sendable (inout SQLiteOutbox.Configuration) -> Void) throws {
            var configuration = SQLiteOutbox.Configuration()
            change(&configuration)
            let database = try DatabaseQueue()
            let changed = configuration
            #expect(
                #expect(throws: OutboxError.self) { try SQLiteOutbox(database, changed) }?.kind == .invalidConfiguration
            )
        }

        // MARK: Whatever data there is

        @Test(arguments: ["outbox", "Out Box", #"a"b"#, "a'b; DROP TABLE task; --", "ünïcödé", "select"])
        func anyPrefixIsAName(prefix: String) async throws {
            let service = try await Service(prefix: prefix)
            let session = try await service.publishing()
            try await service.store(.of("a", "1"), .of("a", "2"), .of("b", "3"))
            let events = try await session.all()
            #expect(events.texts == ["1", "2", "3"])
            try await session.park(events[0])
            try await session.accept([events[2]])
            #expect(try await session.all().isEmpty)
            #expect(try await service.outbox.status().parkedCount == 2)
            #expect(try await session.maintain().backlog == 0)
        }

        @Test func whateverIsInAMessageComesOutAsItWent() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let bytes: [[UInt8]?] = [nil, [], [0], [0xFF, 0xFE], Array("';DROP TABLE outbox;--".utf8), Array(0...255)]
            var sent: [OutboxMessage] = []
            for key in bytes {
                for payload in bytes {
                    var message = OutboxMessage(topic: "t'\"`;--ü\n", key: key, payload: payload)
                    message.headers = [
                        OutboxHeader("n\0ame\"'", [0, 1, 255]), OutboxHeader("", nil), OutboxHeader("ü", "ä\u{0}"),
                        OutboxHeader("ü", ""),
                    ]
                    message.attributes = ["method": "PU\"T", "'": "\\"]
                    sent.append(message)
                }
            }
            let messages = sent
            try await service.database.write { db in _ = try service.outbox.append(messages, in: db) }
            let events = try await session.all()
            #expect(events.map(\.message.key) == sent.map(\.key))
            #expect(events.map(\.message.payload) == sent.map(\.payload))
            #expect(events.map(\.message) == sent)
            #expect(try await service.database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM task") } == 0)
        }

        @Test func tenMegabytesAreAPayload() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let payload = (0..<10_485_760).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            try await service.store(OutboxMessage(topic: "t", key: "k", payload: payload), .of("k", "next"))
            // One of a slot comes however large it is.
            let first = try await session.all { $0.maximumBytes = 1_000 }
            #expect(first.map(\.message.payload) == [payload])
        }

        @Test func aRowThatWasWrittenByHandAndCannotBeReadStopsItsKeyOnly() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            try await service.store(.of("good", "1"))
            for headers in ["{", "7", #"[["a"]]"#, #"[[{"base64":"%"},null]]"#] {
                try await service.database.write { db in
                    try db.execute(
                        sql:
                            "INSERT INTO outbox (slot, idempotency_key, topic, key, headers) VALUES (7, 'x', 't', x'01', ?)",
                        arguments: [headers]
                    )
                }
            }
            try await service.store(.of("good", "2"))
            // Reading says what is wrong with them, and parks nothing: that is the publisher's.
            let events = try await session.all()
            #expect(events.filter { $0.defect == nil }.texts == ["1", "2"])
            let broken = events.filter { $0.defect?.contains("headers") == true }
            #expect(broken.count == 4)
            #expect(broken.allSatisfy { $0.message.key == [1] && $0.message.headers.isEmpty })
            #expect(try await service.outbox.status().parkedCount == 0)

            #expect(try await session.parkDefects(events) == 4)
            #expect(try await session.all().texts == ["1", "2"])
            let parked = try await service.outbox.parked(key: [1], limit: 10)
            #expect(parked.count == 4)
            #expect(parked.first?.reason.contains("headers") == true)
            // Sent again as they are, they are parked again, and nothing is lost.
            #expect(try await service.outbox.decide(.resume, .key([1])) == 4)
            let resumed = try await session.all()
            #expect(resumed.count(where: { $0.defect != nil && $0.origin == .parked }) == 4)
            try await session.parkDefects(resumed)
            #expect(try await session.all().texts == ["1", "2"])
            #expect(try await service.outbox.parked(key: [1], limit: 10).allSatisfy { $0.action == nil })
            let stored = try await service.database.read {
                try String.fetchAll($0, sql: "SELECT headers FROM outbox_parked ORDER BY id")
            }
            #expect(stored == ["{", "7", #"[["a"]]"#, #"[[{"base64":"%"},null]]"#])
        }

        @Test func rowsOfOtherTypesAreRefusedByTheTable() async throws {
            let service = try await Service()
            for values in ["99, 'k', 't', x'01'", "1, 'k', 't', 'text'", "1, 'k', x'00', NULL", "1, NULL, 't', NULL"] {
                await #expect(throws: DatabaseError.self) {
                    try await service.database.write { db in
                        try db.execute(sql: "INSERT INTO outbox (slot, idempotency_key, topic, key) VALUES (\(values))")
                    }
                }
            }
        }
    }
#endif
