import Foundation
import OutboxDelivery
import OutboxPostgres
import Testing

@Suite(.timeLimit(.minutes(5)))
struct LibpqConnectionTests {
    private func number(_ rows: LibpqRows) -> Int64? { rows.integer(0, 0) }

    @Test func manyStatementsAreUnderWayAtATimeAndEachGetsItsOwnAnswer() async throws {
        let connection = try await TestDatabase.make().connect()
        let answers = try await withThrowingTaskGroup(of: (Int64, Int64?).self) { group in
            for value in 0..<1_000 as Range<Int64> {
                group.addTask {
                    let rows = try await connection.query(OutboxStatement("SELECT $1::bigint * 2", [.integer(value)]))
                    return (value, rows.integer(0, 0))
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.count == 1_000)
        #expect(answers.allSatisfy { $0.1 == $0.0 * 2 })
        await connection.close()
    }

    @Test func anErrorSaysThatNothingWasDoneAndSpoilsNoStatementBesideIt() async throws {
        let connection = try await TestDatabase.make().connect()
        async let good = connection.query(OutboxStatement("SELECT 1"))
        let bad = Task { try await connection.query(OutboxStatement("SELECT 1/0")) }
        async let alsoGood = connection.query(OutboxStatement("SELECT 2"))
        #expect(try await number(good) == 1)
        #expect(try await number(alsoGood) == 2)
        let error = await #expect(throws: OutboxError.self) { try await bad.value }
        #expect(error?.code == "22012")
        #expect(error?.persistence == .notPersisted)
        #expect(error?.recovery == .fixRequest)
        await connection.close()
    }

    // The server answers the statement, and only then runs into the constraint, when the implicit transaction is committed.
    @Test func whatOnlyTheCommitRefusesIsAnErrorAndNotAnAnswer() async throws {
        let connection = try await TestDatabase.make().connect()
        try await connection.query(OutboxStatement("CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        let error = await #expect(throws: OutboxError.self) {
            try await connection.query(OutboxStatement("INSERT INTO t VALUES (1), (1) RETURNING id"))
        }
        #expect(error?.code == "23505")
        #expect(error?.persistence == .notPersisted)
        #expect(try await number(connection.query(OutboxStatement("SELECT count(*) FROM t"))) == 0)
        await connection.close()
    }

    @Test func hostileValuesComeBackByteForByte() async throws {
        let connection = try await TestDatabase.make().connect()
        let bytes: [UInt8] = (0..<10_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) } + [0, 0x27, 0xFF, 0xFE, 0]
        let text = "'; DROP TABLE outbox; -- \" \\ \u{1F600} $1 é"
        let rows = try await connection.query(
            OutboxStatement(
                "SELECT $1::bytea, $2::text, $3::bytea, $4::text, $5::bytea",
                [.bytes(bytes), .text(text), .bytes([]), .null, .null]
            )
        )
        #expect(rows.bytes(0, 0) == bytes)
        #expect(rows.text(0, 1) == text)
        #expect(rows.bytes(0, 2) == [])
        #expect(rows.text(0, 3) == nil && rows.isNull(0, 4))
        // Nothing traps where there is nothing.
        #expect(rows.text(1, 0) == nil && rows.bytes(0, 99) == nil && rows.integer(-1, -1) == nil)
        await #expect(throws: OutboxError.self) {
            try await connection.query(OutboxStatement("SELECT $1::text", [.text("a\u{0}b")]))
        }
        await connection.close()
    }

    @Test func aTransactionIsCommittedAsOneOrNotAtAll() async throws {
        struct Wrong: Error {}
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        try await connection.query(OutboxStatement("CREATE TABLE t (id int)"))
        try await connection.withTransaction { transaction in
            try await transaction.query(OutboxStatement("INSERT INTO t VALUES (1)"))
            try await transaction.query(OutboxStatement("INSERT INTO t VALUES (2)"))
        }
        await #expect(throws: Wrong.self) {
            try await connection.withTransaction { transaction in
                try await transaction.query(OutboxStatement("INSERT INTO t VALUES (3)"))
                throw Wrong()
            }
        }
        // A statement failed and the closure did not say so: the commit is a rollback, and says so.
        let error = await #expect(throws: OutboxError.self) {
            try await connection.withTransaction { transaction in
                try await transaction.query(OutboxStatement("INSERT INTO t VALUES (4)"))
                _ = try? await transaction.query(OutboxStatement("SELECT 1/0"))
            }
        }
        #expect(error?.persistence == .notPersisted && error?.recovery == .fixRequest)
        #expect(try await number(connection.query(OutboxStatement("SELECT count(*) FROM t"))) == 2)
        await connection.close()
    }

    @Test func statementsOfOtherTasksStayOutOfATransaction() async throws {
        let connection = try await TestDatabase.make().connect()
        try await connection.query(OutboxStatement("CREATE TABLE t (id int)"))
        struct Undone: Error {}
        await withTaskGroup(of: Void.self) { group in
            for value in 0..<100 as Range<Int64> {
                group.addTask {
                    let insert = OutboxStatement("INSERT INTO t VALUES ($1)", [.integer(value)])
                    if value % 2 == 0 {
                        _ = try? await connection.query(insert)
                    } else {
                        try? await connection.withTransaction { transaction in
                            try await transaction.query(insert)
                            throw Undone()
                        }
                    }
                }
            }
        }
        let rows = try await connection.query(
            OutboxStatement("SELECT count(*), count(*) FILTER (WHERE id % 2 = 1) FROM t")
        )
        #expect(rows.integer(0, 0) == 50 && rows.integer(0, 1) == 0)
        await connection.close()
    }

    @Test func aCancelledTaskIsToldAtOnceAndTheConnectionGoesOn() async throws {
        let connection = try await TestDatabase.make().connect()
        let task = Task { try await connection.query(OutboxStatement("SELECT pg_sleep(600)")) }
        while connection.statementsUnderWay == 0 { await Task.yield() }
        task.cancel()
        let first = await #expect(throws: OutboxError.self) { try await task.value }
        #expect(first?.kind == .cancelled)
        let other = Task { try await connection.query(OutboxStatement("SELECT 7")) }
        #expect(try await number(other.value) == 7)
        await connection.close()
    }

    @Test func aTerminatedSessionTellsPostgreSQLsReasonAndWhatMayBeDone() async throws {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        let killer = try await database.connect()
        let pid = try #require(try await number(connection.query(OutboxStatement("SELECT pg_backend_pid()"))))
        let busy = Task { try await connection.query(OutboxStatement("SELECT pg_sleep(60)")) }
        let seen = OutboxStatement(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'",
            [.integer(pid)]
        )
        while try await number(killer.query(seen)) == 0 {}
        try await killer.query(OutboxStatement("SELECT pg_terminate_backend($1::int)", [.integer(pid)]))
        let error = await #expect(throws: OutboxError.self) { try await busy.value }
        #expect(error?.kind == .unavailable)
        #expect(error?.code == "57P01")
        #expect(error?.recovery == .retry)
        let later = await #expect(throws: OutboxError.self) { try await connection.query(OutboxStatement("SELECT 1")) }
        #expect(later?.persistence == .notPersisted)
        await connection.close()
        await killer.close()
    }

    @Test func anIdleSessionThatIsEndedTellsTheReasonToo() async throws {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        let killer = try await database.connect()
        let pid = try #require(try await number(connection.query(OutboxStatement("SELECT pg_backend_pid()"))))
        async let ended = connection.closed()
        try await killer.query(OutboxStatement("SELECT pg_terminate_backend($1::int)", [.integer(pid)]))
        #expect(await ended.code == "57P01")
        await killer.close()
    }

    @Test func aStatementThatIsNotAnsweredTakesTheConnectionWithIt() async throws {
        let connection = try await TestDatabase.make().connect()
        let error = await #expect(throws: OutboxError.self) {
            try await connection.query(OutboxStatement("SELECT pg_sleep(30)"), within: .milliseconds(100))
        }
        #expect(error?.kind == .timedOut)
        #expect(error?.persistence == .possiblyPersisted)
        #expect(await connection.closed().kind == .timedOut)
    }

    @Test func closingFailsWhatIsUnderWayAndWhatComes() async throws {
        let connection = try await TestDatabase.make().connect()
        let busy = Task { try await connection.query(OutboxStatement("SELECT pg_sleep(60)")) }
        while connection.statementsUnderWay == 0 { await Task.yield() }
        await connection.close()
        let error = await #expect(throws: OutboxError.self) { try await busy.value }
        #expect(error?.kind == .closed && error?.persistence == .possiblyPersisted)
        let later = await #expect(throws: OutboxError.self) { try await connection.query(OutboxStatement("SELECT 1")) }
        #expect(later?.kind == .closed && later?.persistence == .notPersisted)
        await connection.close()
    }

    @Test func whatCannotBeConnectedToSaysSo() async throws {
        let refused = await #expect(throws: OutboxError.self) {
            try await LibpqConnection.open(LibpqSettings("postgres://u:topsecret@127.0.0.1:1/x"))
        }
        #expect(refused?.kind == .unavailable && refused?.recovery == .retry)
        #expect(!"\(String(describing: refused))".contains("topsecret"))
    }

    // libpq quotes what it cannot read, password and all.
    @Test(arguments: [
        "postgres://user:topsecret@host/d?x", "host=x password='topsecret", "postgres://user:topsecret@[::1/x",
        "password=topsecret unknown=1", "postgres://user:topsecret@h/d?topsecret=%zz",
    ])
    func aConnectionStringThatCannotBeReadIsNotPrinted(_ text: String) async throws {
        let error = await #expect(throws: OutboxError.self) { try await LibpqConnection.open(LibpqSettings(text)) }
        #expect(error?.kind == .invalidConfiguration)
        #expect(!"\(String(reflecting: error)) \(LibpqSettings(text))".contains("topsecret"))
    }

    @Test func aPasswordIsNeverPrinted() throws {
        for text in ["postgres://user:topsecret@host/db", "host=h user=u password=topsecret sslpassword=topsecret"] {
            let settings = LibpqSettings(text)
            var dumped = ""
            dump(settings, to: &dumped)
            let printed =
                "\(settings) \(String(reflecting: settings)) \(dumped) \(try settings.parameters()) \(["s": settings])"
            #expect(!printed.contains("topsecret"))
            #expect(printed.contains("user"))
        }
    }

    @Test func aNotificationWakesWhoeverWaitsAndOneThatCameBeforeIsNotLost() async throws {
        let database = try await TestDatabase.make()
        let listener = try await database.connect()
        let other = try await database.connect()
        let channel = "\"ch \(database.schema)\""
        try await listener.query(OutboxStatement("LISTEN \(channel)"))
        async let waited = listener.waitForNotification(atMost: .seconds(60))
        try await other.query(OutboxStatement("NOTIFY \(channel)"))
        #expect(await waited)
        try await other.query(OutboxStatement("NOTIFY \(channel)"))
        // What the server sent is read before what it answers next.
        try await listener.query(OutboxStatement("SELECT 1"))
        #expect(await listener.waitForNotification(atMost: .seconds(60)))
        #expect(await !listener.waitForNotification(atMost: .milliseconds(1)))
        await listener.close()
        #expect(await !listener.waitForNotification(atMost: .seconds(60)))
        await other.close()
    }
}
