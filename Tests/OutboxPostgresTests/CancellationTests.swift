import OutboxDelivery
import Testing

@testable import OutboxPostgres

/// What becomes of a statement whose task does not wait for it any more, at the server too.
@Suite(.timeLimit(.minutes(5)))
struct CancellationTests {
    private func pid(_ connection: LibpqConnection) async throws -> Int64 {
        try #require(try await connection.query(OutboxStatement("SELECT pg_backend_pid()")).integer(0, 0))
    }

    /// Waits until a session does this, or until it does not.
    private func wait(_ observer: LibpqConnection, _ pid: Int64, sleeps: Bool) async throws {
        let statement = OutboxStatement(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND query LIKE 'SELECT pg_sleep%'",
            [.integer(pid)]
        )
        while try await observer.query(statement).integer(0, 0) != (sleeps ? 1 : 0) {
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    @Test func theServerEndsAStatementWhoseTaskIsCancelledAndTheConnectionGoesOn() async throws {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        let observer = try await database.connect()
        let pid = try await pid(connection)
        for _ in 0..<10 {
            let task = Task { try await connection.query(OutboxStatement("SELECT pg_sleep(600)")) }
            try await wait(observer, pid, sleeps: true)
            task.cancel()
            let error = await #expect(throws: OutboxError.self) { try await task.value }
            #expect(error?.kind == .cancelled && error?.persistence == .possiblyPersisted)
            // Without the request it would wait for ten minutes; and it must not be hit by it.
            #expect(try await connection.query(OutboxStatement("SELECT 7::bigint")).integer(0, 0) == 7)
            try await wait(observer, pid, sleeps: false)
        }
        await connection.close()
        await observer.close()
    }

    // A request that comes before the session has read the statement does nothing; without another one it would go on for ten minutes.
    @Test func aStatementIsEndedTooWhoseTaskIsCancelledBeforeTheServerHasReadIt() async throws {
        let connection = try await TestDatabase.make().connect()
        // So large that the request overtakes it.
        let statement = OutboxStatement(
            "SELECT pg_sleep(600), length($1::text)",
            [.text(String(repeating: "x", count: 10_000_000))]
        )
        for _ in 0..<5 {
            let task = Task { try await connection.query(statement) }
            while connection.statementsUnderWay == 0 { await Task.yield() }
            task.cancel()
            _ = await task.result
            #expect(try await connection.query(OutboxStatement("SELECT 7::bigint")).integer(0, 0) == 7)
        }
        await connection.close()
    }

    @Test func aTransactionWhoseTaskIsCancelledIsRolledBackAtOnce() async throws {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        let observer = try await database.connect()
        try await connection.query(OutboxStatement("CREATE TABLE t (id int)"))
        let pid = try await pid(connection)
        let task = Task {
            try await connection.withTransaction { transaction in
                try await transaction.query(OutboxStatement("INSERT INTO t VALUES (1)"))
                try await transaction.query(OutboxStatement("SELECT pg_sleep(600)"))
            }
        }
        try await wait(observer, pid, sleeps: true)
        task.cancel()
        await #expect(throws: OutboxError.self) { try await task.value }
        #expect(try await connection.query(OutboxStatement("SELECT count(*) FROM t")).integer(0, 0) == 0)
        await connection.close()
        await observer.close()
    }

    @Test func theServerEndsAStatementWhoseTimeIsOverAndTheConnectionIsGivenUp() async throws {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        let observer = try await database.connect()
        let pid = try await pid(connection)
        let error = await #expect(throws: OutboxError.self) {
            try await connection.query(OutboxStatement("SELECT pg_sleep(600)"), within: .milliseconds(300))
        }
        #expect(error?.kind == .timedOut && error?.persistence == .possiblyPersisted)
        #expect(await connection.closed().kind == .timedOut)
        let session = OutboxStatement("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", [.integer(pid)])
        while try await observer.query(session).integer(0, 0) != 0 { try await Task.sleep(for: .milliseconds(2)) }
        await observer.close()
    }

    // Another task's statement is under way behind it, and might be the one that is hit.
    @Test func noStatementOfAnotherTaskIsEndedForOneThatIsCancelled() async throws {
        let connection = try await TestDatabase.make().connect()
        for _ in 0..<50 {
            let cancelled = Task { try await connection.query(OutboxStatement("SELECT pg_sleep(0.002)")) }
            let others = (0..<4).map { number in
                Task { try await connection.query(OutboxStatement("SELECT pg_sleep(0.001), \(number)")) }
            }
            cancelled.cancel()
            _ = try? await cancelled.value
            for other in others { _ = try await other.value }
        }
        await connection.close()
    }

    @Test func aTaskThatIsCancelledWhileATransactionIsOpenIsToldAtOnce() async throws {
        let connection = try await TestDatabase.make().connect()
        let isOpen = Flag()
        let mayEnd = Flag()
        let transaction = Task {
            try await connection.withTransaction { transaction in
                isOpen.set()
                await mayEnd.wait()
                _ = try await transaction.query(OutboxStatement("SELECT 1"))
            }
        }
        await isOpen.wait()
        // More of them than the pool has threads.
        let waiting = (0..<64).map { _ in Task { try await connection.query(OutboxStatement("SELECT 1")) } }
        for task in waiting { task.cancel() }
        for task in waiting {
            let error = await #expect(throws: OutboxError.self) { try await task.value }
            #expect(error?.kind == .cancelled && error?.persistence == .notPersisted)
        }
        mayEnd.set()
        try await transaction.value
        await connection.close()
    }

    // Its own time begins when the transaction is over: it has its answer, and the connection goes on.
    @Test func aStatementThatWaitsForATransactionOfAnotherTaskLosesNoTimeByThat() async throws {
        let connection = try await TestDatabase.make().connect()
        let isOpen = Flag()
        let transaction = Task {
            try await connection.withTransaction { transaction in
                isOpen.set()
                _ = try await transaction.query(OutboxStatement("SELECT pg_sleep(11)"))
            }
        }
        await isOpen.wait()
        let rows = try await connection.query(OutboxStatement("SELECT 7::bigint"), within: .seconds(10))
        #expect(rows.integer(0, 0) == 7)
        try await transaction.value
        await connection.close()
    }

    @Test(arguments: ["COPY (SELECT 1) TO STDOUT", "COPY pg_temp.t FROM STDIN"])
    func copyEndsTheConnectionAndSaysSo(_ statement: String) async throws {
        let connection = try await TestDatabase.make().connect()
        try await connection.query(OutboxStatement("CREATE TEMPORARY TABLE t (id int)"))
        let error = await #expect(throws: OutboxError.self) {
            try await connection.query(OutboxStatement(statement))
        }
        #expect(error?.recovery == .fixRequest && error?.reason.contains("COPY") == true)
        await connection.close()
    }

    @Test func aHostThatSwallowsPacketsIsLeftForTheNext() async throws {
        let database = try await TestDatabase.make()
        let silent = try SilentPort()
        let words = try database.settings.words()
        let host = try #require(words["host"])
        let port = try #require(words["port"])
        var settings = LibpqSettings(
            "host=127.0.0.1,\(host) port=\(silent.port),\(port) dbname=\(words["dbname"] ?? "postgres") "
                + "user=\(words["user"] ?? "postgres") password='\(words["password"] ?? "")' sslmode=disable gssencmode=disable"
        )
        settings.connectTimeout = .seconds(20)
        let connection = try await LibpqConnection.open(settings)
        #expect(try await connection.query(OutboxStatement("SELECT 7::bigint")).integer(0, 0) == 7)
        await connection.close()
    }

    @Test func hostsAreTurnedWithTheirPortsAndNoneIsTriedTwice() {
        var hosts = LibpqHosts(["host": "a,b,c", "port": "1,2,3", "user": "u"])
        #expect(hosts.share(of: .seconds(9)) == .seconds(3))
        var isMore = hosts.skip("a")
        #expect(isMore && hosts.words == ["host": "b,c,a", "port": "2,3,1", "user": "u"])
        #expect(hosts.share(of: .seconds(6)) == .seconds(3))
        // One that refused at once was passed by libpq itself.
        isMore = hosts.skip("c")
        #expect(isMore && hosts.words["host"] == "a,b,c")
        isMore = hosts.skip("a")
        #expect(!isMore)
        var single = LibpqHosts(["port": "1"])
        isMore = single.skip(nil)
        #expect(single.share(of: .seconds(9)) == .seconds(9) && !isMore)
        var shared = LibpqHosts(["host": "a,b", "port": "5432"])
        isMore = shared.skip("a")
        #expect(isMore && shared.words == ["host": "b,a", "port": "5432"])
        var ports = LibpqHosts(["host": "db,db,db", "port": "1,2,3"])
        isMore = ports.skip("db", port: "2")
        #expect(isMore && ports.words == ["host": "db,db,db", "port": "3,1,2"])
        #expect(ports.share(of: .seconds(6)) == .seconds(6))
    }

    @Test func hostsThatTheEnvironmentNamesHaveTheirSharesOfTheTimeToo() throws {
        var hosts = LibpqHosts(["user": "u", "port": "5"])
        hosts.learn(["host": "a,b", "port": "1,2"])
        #expect(hosts.words == ["user": "u", "host": "a,b", "port": "5"])
        #expect(hosts.share(of: .seconds(6)) == .seconds(3))
        let isMore = hosts.skip("a", port: "5")
        #expect(isMore && hosts.words["host"] == "b,a")
        // What libpq takes at the next attempt is what it was given.
        hosts.learn(["host": "b,a", "port": "5"])
        #expect(hosts.share(of: .seconds(6)) == .seconds(6))
        let handle = try #require(LibpqHandle(["host": "/nowhere,/elsewhere", "port": "1,2", "password": "secret"]))
        #expect(handle.places == ["host": "/nowhere,/elsewhere", "port": "1,2"])
    }

    @Test func ofStatementsThatWaitEachHasItsOwnTime() {
        let start = ContinuousClock.now
        let jobs = [60, 2, 1, 60].map { seconds in
            LibpqJob(OutboxStatement("SELECT \(seconds)"), deadline: start.advanced(by: .seconds(seconds)))
        }
        var waiting = LibpqWaiting()
        #expect(waiting.nextDeadline == nil)
        waiting.append(contentsOf: jobs)
        #expect(waiting.nextDeadline == jobs[2].deadline)
        var overdue = waiting.takeOverdue(at: start)
        #expect(overdue.isEmpty)
        overdue = waiting.takeOverdue(at: start.advanced(by: .seconds(1)))
        #expect(overdue.map(\.statement.text) == ["SELECT 1"] && waiting.nextDeadline == jobs[1].deadline)
        overdue = waiting.takeOverdue(at: start.advanced(by: .seconds(3)))
        #expect(overdue.map(\.statement.text) == ["SELECT 2"])
        var left: [LibpqJob] = []
        while let job = waiting.popFirst() { left.append(job) }
        #expect(left.map(\.statement.text) == ["SELECT 60", "SELECT 60"] && waiting.nextDeadline == nil)
    }

    @Test func anAbstractUnixSocketIsAHostAndTheRestOfAPasswordIsNone() throws {
        let settings = LibpqSettings("host=@/run/shop,db dbname=shop")
        #expect(try settings.parameters()["host"] == "@/run/shop,db")
        for text in ["postgres://shop:secret@@db/shop", "host=@a@b", "host=shop@db"] {
            #expect(throws: OutboxError.self) { try LibpqSettings(text).parameters() }
        }
    }

    @Test(arguments: [
        "postgres://shop:top/secret@db/shop", "postgresql://shop:top@secret/x@db/shop",
        "postgres://shop:1/topsecret@db",
    ])
    func aPasswordWithASlashThatIsNotEncodedIsRefusedAndNotPrinted(_ text: String) {
        let settings = LibpqSettings(text)
        let error = #expect(throws: OutboxError.self) { try settings.parameters() }
        #expect(error?.kind == .invalidConfiguration && error?.reason.contains("%") == true)
        #expect(!"\(settings) \(String(reflecting: error))".contains("secret"))
    }
}
