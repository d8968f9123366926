import OutboxDelivery
import OutboxPostgres
import Testing

@Suite(.timeLimit(.minutes(5)))
struct SchemaTests {
    @Test func migratingTwiceOrAtTheSameTimeDoesItOnce() async throws {
        let database = try await TestDatabase.make()
        let outboxes = try (0..<4).map { _ in try PostgresOutbox(.init(database.settings)) }
        let runs = try await withThrowingTaskGroup(of: [Int].self) { group in
            for outbox in outboxes { group.addTask { try await outbox.migrate() } }
            return try await group.reduce(into: [Int]()) { $0 += $1 }
        }
        #expect(runs == Array(1...PostgresMigrations.version))
        #expect(try await outboxes[0].migrate() == [])
        #expect(try await outboxes[0].status().schemaVersion == PostgresMigrations.version)
        for outbox in outboxes { await outbox.close() }
    }

    @Test func thePrintedScriptMakesTheSameTablesInASchemaAndWithAPrefixOfAnyName() async throws {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        let schema = database.schema + "\"; x"
        var configuration = try PostgresOutbox.Configuration(database.settings)
        configuration.table = try OutboxTable(.postgresql, schema: schema, prefix: "events of 'ours'")
        try await connection.query(OutboxStatement("CREATE SCHEMA \(configuration.table.quoted(schema))"))
        for migration in PostgresMigrations.all(configuration.table) {
            for statement in migration.statements + [PostgresMigrations.note(migration, configuration.table)] {
                try await connection.query(OutboxStatement(statement))
            }
        }
        #expect(PostgresMigrations.script(configuration.table).contains("CREATE TABLE \(configuration.table.name())"))
        let outbox = try PostgresOutbox(configuration)
        #expect(try await outbox.migrate() == [])
        try await connection.query(outbox.table.insert(OutboxMessage(topic: "t", key: "k", payload: "x")))
        let recorder = Recorder()
        let publisher = OutboxPublisher(store: outbox, destinations: ["kafka": recorder])
        try await running(publisher) { await recorder.wait(for: 1) }
        await outbox.close()
        await connection.close()
    }

    @Test func aPublisherWithoutTablesOrWithOthersEndsAndSaysWhatToDo() async throws {
        let database = try await TestDatabase.make()
        let outbox = try PostgresOutbox(.init(database.settings))
        let missing = await #expect(throws: OutboxError.self) {
            try await OutboxPublisher(store: outbox, destinations: [:]).run()
        }
        #expect(missing?.kind == .schemaVersion && missing?.recovery == .fixRequest)
        try await outbox.migrate()
        let connection = try await database.connect()
        try await connection.query(OutboxStatement("INSERT INTO outbox_schema (version) VALUES (99)"))
        let newer = await #expect(throws: OutboxError.self) {
            try await OutboxPublisher(store: outbox, destinations: [:]).run()
        }
        #expect(newer?.kind == .schemaVersion)
        await connection.close()
        await outbox.close()
    }

    // Each session would draw numbers in advance, and use them in another order.
    @Test func aSequenceWithACacheIsRefusedAtTheStart() async throws {
        let test = try await TestOutbox.make()
        try await test.writer.query(OutboxStatement("ALTER SEQUENCE outbox_id_seq CACHE 20"))
        let error = await #expect(throws: OutboxError.self) { try await test.publisher(Recorder()).run() }
        #expect(error?.kind == .invalidConfiguration)
        await test.close()
    }

    @Test func oneStatementStoresTheChangeAndItsMessageOrNeither() async throws {
        let test = try await TestOutbox.make()
        try await test.writer.query(OutboxStatement("CREATE TABLE orders (id text PRIMARY KEY, state text)"))
        try await test.writer.query(OutboxStatement("INSERT INTO orders VALUES ('42', 'new')"))
        let change = OutboxStatement(
            "UPDATE orders SET state = $1 WHERE id = $2 AND state = $3 RETURNING id",
            [.text("paid"), .text("42"), .text("new")]
        )
        let message = OutboxMessage(topic: "orders", key: "42", payload: "paid", headers: [OutboxHeader("a", "1")])
        #expect(try await test.writer.query(test.outbox.table.insert(message, with: change)).affected == 1)
        #expect(try await test.writer.query(test.outbox.table.insert(message, with: change)).affected == 0)
        #expect(try await test.count() == 1)
        await test.close()
    }

    @Test func statusTellsWhatWaitsWhoPublishesAndWhatIsParked() async throws {
        let test = try await TestOutbox.make()
        let recorder = Recorder { event in
            switch event.message.topic {
            case "poison": .rejected(reason: "poison", isRetriable: false)
            case "away": .unavailable(reason: "away")
            default: nil
            }
        }
        try await test.write(
            OutboxMessage(topic: "poison", key: "p", payload: ""),
            OutboxMessage(topic: "away", key: "a", payload: "")
        )
        try await running(test.publisher(recorder)) {
            try await test.wait(until: 1, "SELECT count(*) FROM outbox_parked")
            let status = try await test.outbox.status()
            #expect(status.waiting.map(\.topic) == ["away"] && status.waiting.first?.count == 1)
            #expect(status.oldest != nil && status.backlog == 1)
            #expect(status.publishers.count == 1 && status.publishers.first?.slots == Array(0..<32))
            #expect(status.parkedCount == 1 && status.parkedKeyCount == 1)
        }
        await test.close()
    }

    @Test func whatIsPublishedIsArchivedForSomeDaysWhereAskedFor() async throws {
        let test = try await TestOutbox.make { $0.archiveDays = 3 }
        // A partition of long ago goes away.
        try await test.writer.query(
            OutboxStatement(
                "CREATE TABLE outbox_archive_20200101 PARTITION OF outbox_archive FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
            )
        )
        let recorder = Recorder()
        try await running(test.publisher(recorder)) {
            try await test.wait(
                until: 3,
                "SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox_archive'::regclass"
            )
            try await test.write(OutboxMessage(topic: "t", key: "k", payload: "x"))
            await recorder.wait(for: 1)
            try await test.wait(until: 1, "SELECT count(*) FROM outbox_archive")
        }
        #expect(try await test.count() == 0)
        await test.close()
    }
}
