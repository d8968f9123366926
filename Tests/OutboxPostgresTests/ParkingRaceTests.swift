import OutboxDelivery
import Testing

@testable import OutboxPostgres

@Suite(.timeLimit(.minutes(5)))
struct ParkingRaceTests {
    private func request(_ limit: Int = 100, slots: [Int] = Array(0..<32)) -> OutboxReadRequest {
        OutboxReadRequest(destination: "kafka", slots: slots, limitPerSlot: limit, maximumBytes: 1_000_000)
    }

    private func message(_ topic: String, _ key: String) -> OutboxMessage {
        OutboxMessage(topic: topic, key: key, payload: "")
    }

    private func parking(_ event: OutboxEvent) -> OutboxSettlement {
        var settlement = OutboxSettlement()
        settlement.parked = [.init(event: event, attempts: 3, reason: "poison", withFollowers: true)]
        return settlement
    }

    /// A session that owns all slots, and the first event parked.
    private func parked(_ test: TestOutbox) async throws -> (PostgresSession, OutboxEvent) {
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        try await test.write(message("head", "a"))
        let head = try #require(try await session.read(request()).first)
        try await session.settle(parking(head))
        return (session, head)
    }

    // A publisher has begun to move a follower behind its parked head, and a person resumes the key before that is committed.
    @Test func aFollowerThatIsBeingMovedWhileItsKeyIsResumedIsResumedToo() async throws {
        let test = try await TestOutbox.make { $0.sessionTimeout = .seconds(60) }
        let (session, _) = try await parked(test)
        try await test.write(message("follower", "a"))
        let row = try await test.writer.query(OutboxStatement("SELECT slot::bigint, id FROM outbox"))
        let follower = OutboxEvent.ID(slot: Int(row.integer(0, 0) ?? 0), number: row.integer(0, 1) ?? 0)
        let mover = try await test.database.connect()
        try await mover.query(OutboxStatement("BEGIN"))
        try await mover.query(PostgresSettling(table: test.outbox.table).follow([follower]))
        let isDecided = Flag()
        let outbox = test.outbox
        let deciding = Task {
            defer { isDecided.set() }
            while true {
                do {
                    return try await outbox.decide(.resume, .key(Array("a".utf8)))
                } catch let error as OutboxError where error.code == "55P03" {
                    // It waited as long as it does.
                }
            }
        }
        let waiting = OutboxStatement(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox_parked'::regclass"
        )
        while try await test.writer.query(waiting).integer(0, 0) == 0, !isDecided.isSet {
            try await Task.sleep(for: .milliseconds(2))
        }
        try await mover.query(OutboxStatement("COMMIT"))
        #expect(try await deciding.value == 2)
        _ = try await session.maintain()
        #expect(try await session.read(request()).map(\.message.topic) == ["head", "follower"])
        await mover.close()
        await session.close()
        await test.close()
    }

    // A person would decide twice.
    @Test func aDecisionIsOneAlsoWherePublishersCannotBeToldOfIt() async throws {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        // Stands before PostgreSQL's own.
        try await connection.query(
            OutboxStatement(
                """
                CREATE FUNCTION pg_notify(text, text) RETURNS void LANGUAGE plpgsql
                AS 'BEGIN RAISE EXCEPTION ''the queue of notifications is full''; END'
                """
            )
        )
        var settings = database.settings
        settings.connection += "%2Cpg_catalog"
        let outbox = try PostgresOutbox(.init(settings))
        try await outbox.migrate()
        try await connection.query(
            OutboxStatement(
                """
                INSERT INTO outbox_parked (slot, id, idempotency_key, topic, key, created_at, attempts, reason, holds)
                VALUES (1, 1, '1', 't', 'a', now(), 3, 'poison', true)
                """
            )
        )
        await #expect(throws: OutboxError.self) { try await outbox.wake() }
        #expect(try await outbox.decide(.resume, .all) == 1)
        await outbox.close()
        await connection.close()
    }

    // Fewer rows than were asked for would say that there are no more.
    @Test func aReadThatMovesRowsBehindAParkedOneStillBringsAsManyAsThereAre() async throws {
        let test = try await TestOutbox.make { $0.sessionTimeout = .seconds(60) }
        let (session, head) = try await parked(test)
        let found = try await test.writer.query(
            OutboxStatement(
                """
                SELECT 'k' || n FROM generate_series(1, 10000) n
                WHERE get_byte(sha256(convert_to('k' || n, 'UTF8')), 0) & 31 = $1::bigint LIMIT 1
                """,
                [.integer(Int64(head.id.slot))]
            )
        )
        let other = try #require(found.text(0, 0))
        try await test.write(message("f1", "a"), message("f2", "a"))
        for topic in ["1", "2", "3", "4"] { try await test.write(message(topic, other)) }
        _ = try await session.maintain()
        let events = try await session.read(request(3, slots: [head.id.slot]))
        #expect(events.map(\.message.topic) == ["1", "2", "3"])
        #expect(try await test.outbox.parked(key: nil, limit: 9).map(\.event.message.topic) == ["head", "f1", "f2"])
        await session.close()
        await test.close()
    }

    // Otherwise the batch that a parked row conflicts with would be sent again for ever.
    @Test func numbersThatBeginAnewBesideParkedRowsConflictWithNone() async throws {
        let test = try await TestOutbox.make { $0.sessionTimeout = .seconds(60) }
        let (session, head) = try await parked(test)
        try await test.writer.query(OutboxStatement("TRUNCATE outbox RESTART IDENTITY"))
        for round in 1...2 {
            try await test.write(message("new \(round)", "a"))
            let rows = try await test.writer.query(OutboxStatement("SELECT * FROM outbox"))
            #expect(rows.integer(0, 1) == head.id.number)
            let new = OutboxEvent(id: head.id, createdAt: head.createdAt, message: message("new \(round)", "a"))
            try await session.settle(parking(new))
            try await test.writer.query(OutboxStatement("TRUNCATE outbox RESTART IDENTITY"))
        }
        try await test.write(message("followed", "b"), message("follower", "a"))
        _ = try await session.maintain()
        #expect(try await session.read(request()).map(\.message.topic) == ["followed"])
        let topics = try await test.outbox.parked(key: Array("a".utf8), limit: 9).map(\.event.message.topic)
        #expect(Set(topics) == ["head", "new 1", "new 2", "follower"])
        #expect(try await test.count() == 1)
        await session.close()
        await test.close()
    }

    // A note that is answered within a settlement's transaction would be taken back with it, when its batch is stored already.
    @Test func aNoteIsNoPartOfASettlementThatIsUnderWay() async throws {
        let test = try await TestOutbox.make { $0.sessionTimeout = .seconds(60) }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        try await test.write(message("1", "a"), message("2", "b"))
        let events = try await session.read(request()).sorted { $0.id < $1.id }
        try #require(events.count == 2)
        var settlement = parking(events[1])
        settlement.accepted = [events[0]]
        // The second of the settlement's statements waits.
        let blocker = try await test.database.connect()
        try await blocker.query(OutboxStatement("BEGIN"))
        try await blocker.query(OutboxStatement("SELECT FROM outbox WHERE topic = '2' FOR UPDATE"))
        let parked = settlement
        let settling = Task { try await session.settle(parked) }
        let pid = try await blocker.query(OutboxStatement("SELECT pg_backend_pid()::bigint")).integer(0, 0) ?? 0
        let blocked = "SELECT count(*) FROM pg_stat_activity WHERE \(pid) = ANY (pg_blocking_pids(pid))"
        try await test.wait(until: 1, blocked)
        let noting = Task {
            try await session.note(
                OutboxInflight(slot: 3, destination: "kafka", number: 1, topic: "t", rows: [1], notedAt: nil)
            )
        }
        // The note has its time to be sent, if it is not to wait.
        for _ in 0..<100 { _ = try await test.count() }
        try await blocker.query(OutboxStatement("COMMIT"))
        #expect(try await settling.value == 1)
        try await noting.value
        let transactions = try await test.writer.query(
            OutboxStatement("SELECT (SELECT xmin FROM outbox_parked)::text <> (SELECT xmin FROM outbox_inflight)::text")
        )
        #expect(transactions.boolean(0, 0) == true)
        await blocker.close()
        await session.close()
        await test.close()
    }
}
