import OutboxDelivery
import OutboxPostgres
import OutboxTesting
import Testing

/// Tables that are not what a session began with, and databases that do not store any text.
@Suite(.timeLimit(.minutes(5)))
struct ReplacedTableTests {
    private static let request = OutboxReadRequest(
        destination: "kafka",
        slots: Array(0..<32),
        limitPerSlot: 10,
        maximumBytes: 1_000_000
    )

    // As after a failover to a server that had not heard of the first row: its number comes again.
    @Test func whatAnEarlierSessionReadIsDeletedOnlyWhereItIsThatRow() async throws {
        let test = try await TestOutbox.make { $0.archiveDays = 2 }
        try await test.write(OutboxMessage(topic: "lost", key: "k", payload: "1"))
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        var settlement = OutboxSettlement()
        settlement.accepted = try await session.read(Self.request)
        settlement.isOfEarlierSession = true
        try await test.writer.query(OutboxStatement("TRUNCATE outbox RESTART IDENTITY"))
        try await test.write(OutboxMessage(topic: "new", key: "k", payload: "2"))
        let new = try await session.read(Self.request)
        #expect(new.map(\.id) == settlement.accepted.map(\.id))
        try await session.settle(settlement)
        #expect(try await session.read(Self.request).map(\.message.topic) == ["new"])
        // A row that was parked and resumed, and the archive, the same.
        var parking = OutboxSettlement()
        parking.parked = [.init(event: new[0], attempts: 1, reason: "no", withFollowers: false)]
        try await session.settle(parking)
        #expect(try await test.outbox.decide(.resume, .all) == 1)
        _ = try await session.maintain()
        let resumed = try await session.read(Self.request)
        #expect(resumed.map(\.origin) == [.parked])
        for key in ["another", resumed[0].message.idempotencyKey] {
            #expect(try await test.count("outbox_parked") == 1)
            var message = resumed[0].message
            message.idempotencyKey = key
            let (id, createdAt) = (resumed[0].id, resumed[0].createdAt)
            settlement.accepted = [OutboxEvent(id: id, createdAt: createdAt, message: message, origin: .parked)]
            try await session.settle(settlement)
        }
        #expect(try await test.count("outbox_parked") == 0)
        #expect(try await test.count("outbox_archive") == 1)
        await session.close()
        await test.close()
    }

    // Its locks are of the table that it began with, and so is how far the numbers are.
    @Test func aSessionEndsWhereAnotherTableHasTheOutboxesName() async throws {
        let test = try await TestOutbox.make()
        let session = try await test.outbox.openSession()
        #expect(try await session.balance(busy: []).slots.count == 32)
        for statement in ["ALTER TABLE outbox RENAME TO old", "CREATE TABLE outbox (LIKE old INCLUDING ALL)"] {
            try await test.writer.query(OutboxStatement(statement))
        }
        let error = await #expect(throws: OutboxError.self) { try await session.balance(busy: []) }
        #expect(error?.kind == .fenced && error?.recovery == .retry)
        await session.close()
        let next = try await test.outbox.openSession()
        #expect(try await next.balance(busy: []).slots.count == 32)
        await next.close()
        await test.close()
    }

    // A reason that cannot be stored would keep its event from being parked, and all of its batch from being deleted.
    @Test func aReasonOfAnyCharactersIsStoredInADatabaseThatHasFew() async throws {
        let server = try await PostgresServer.start()
        try await server.run(
            "psql",
            [
                "-q", "-d", server.url, "-c",
                "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
            ]
        )
        let path = try #require(server.url.lastIndex(of: "/"))
        let test = try await TestOutbox.make(
            on: TestDatabase(url: server.url[..<path] + "/latin", schema: "public")
        )
        try await test.write(OutboxMessage(topic: "t", key: "k", payload: "1"))
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        let event = try #require(try await session.read(Self.request).first)
        var settlement = OutboxSettlement()
        settlement.parked = [.init(event: event, attempts: 3, reason: "a → b", withFollowers: true)]
        try await session.settle(settlement)
        let parked = try await test.outbox.parked(key: nil, limit: 10)
        #expect(parked.map(\.reason) == ["a \\u{2192} b"])
        await session.close()
        await test.close()
        await server.shutdown()
    }
}
