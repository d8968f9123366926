import OutboxDelivery
import Synchronization
import Testing

@testable import OutboxPostgres

@Suite(.timeLimit(.minutes(5)))
struct CheckTests {
    // A pooler makes a process number up when it is connected to, and leaves what is set in a session to the next client.
    @Test func aPublisherBehindAPoolerIsRefusedBeforeItSetsOrLocksAnything() async throws {
        let test = try await TestOutbox.make()
        let connection = try await test.database.connect()
        connection.core.backend.store(-7, ordering: .relaxed)
        let error = await #expect(throws: OutboxError.self) {
            _ = try await PostgresCheck(test.outbox.configuration, connection).prepare()
        }
        #expect(error?.kind == .invalidConfiguration)
        let left = try await connection.query(
            OutboxStatement(
                """
                SELECT current_setting('idle_session_timeout'), current_setting('statement_timeout'), current_setting('enable_sort'),
                    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
                    (SELECT count(*) FROM pg_listening_channels())
                """
            )
        )
        #expect(left.text(0, 0) == "0" && left.text(0, 1) == "0" && left.text(0, 2) == "on")
        #expect(left.integer(0, 3) == 0 && left.integer(0, 4) == 0)
        await connection.close()
        await test.close()
    }

    // PostgreSQL names the sequence otherwise where the usual name is taken.
    @Test func theSequenceOfTheNumbersMayHaveAnyName() async throws {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        try await connection.query(OutboxStatement("CREATE SEQUENCE outbox_id_seq CACHE 50"))
        let test = try await TestOutbox.make(on: database) { $0.sessionTimeout = .seconds(60) }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 100,
            maximumBytes: 1_000_000
        )
        for number in 0..<3 { try await test.write(OutboxMessage(topic: "\(number)", key: "k", payload: "")) }
        var settlement = OutboxSettlement()
        settlement.accepted = try await session.read(request)
        #expect(settlement.accepted.count == 3)
        try await session.settle(settlement)
        while session.highestFloor < 3 { _ = try await session.maintain() }
        #expect(session.highestFloor == 3)
        await session.close()
        await connection.close()
        await test.close()
    }

    @Test(arguments: [Duration.zero, .milliseconds(999), .seconds(3_601), .seconds(86_400 * 25), .seconds(Int64.max)])
    func aSessionTimeOutThatPostgreSQLWouldRefuseIsRefusedAtOnce(_ timeout: Duration) throws {
        var configuration = try PostgresOutbox.Configuration(LibpqSettings("postgres://localhost/shop"))
        configuration.sessionTimeout = timeout
        let made = configuration
        let error = #expect(throws: OutboxError.self) { try PostgresOutbox(made) }
        #expect(error?.kind == .invalidConfiguration)
    }

    // A dump, or a report, that reads the archive holds its lock on it to its end.
    @Test func aLongReaderOfTheArchiveStopsNoPublishing() async throws {
        let test = try await TestOutbox.make { configuration in
            configuration.archiveDays = 3
            configuration.sessionTimeout = .seconds(60)
        }
        try await test.writer.query(
            OutboxStatement(
                "CREATE TABLE outbox_archive_20200101 PARTITION OF outbox_archive FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
            )
        )
        let reader = try await test.database.connect()
        try await reader.query(OutboxStatement("BEGIN"))
        try await reader.query(OutboxStatement("SELECT count(*) FROM outbox_archive"))
        let recorder = Recorder()
        let publisher = test.publisher(recorder)
        try await running(publisher) {
            for number in 0..<3 {
                try await test.write(OutboxMessage(topic: "\(number)", key: "k", payload: ""))
                await recorder.wait(for: number + 1)
                try await test.wait(until: Int64(number) + 1, "SELECT count(*) FROM outbox_archive")
            }
            // What is too old stays until the reader is done, and nothing waits for it.
            let old = OutboxStatement("SELECT to_regclass('outbox_archive_20200101')::text")
            #expect(try await test.writer.query(old).text(0, 0) != nil)
        }
        // No session was lost over it, and so nothing came twice.
        #expect(recorder.topics == ["0", "1", "2"])
        for await event in publisher.events {
            if case .sessionLost(let error) = event { Issue.record("\(error)") }
        }
        await reader.close()
        await test.close()
    }

    @Test func theFirstRowThatIsArchivedHasItsPartition() async throws {
        let test = try await TestOutbox.make { configuration in
            configuration.archiveDays = 1
            configuration.sessionTimeout = .seconds(60)
        }
        try await test.write(OutboxMessage(topic: "t", key: "k", payload: ""))
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 1,
            maximumBytes: 1_000
        )
        var settlement = OutboxSettlement()
        settlement.accepted = try await session.read(request)
        // Nothing looked after the store before.
        try await session.settle(settlement)
        #expect(try await test.count("outbox_archive") == 1)
        await session.close()
        await test.close()
    }

    // Those of libpq 18 too, whatever libpq this one was built with.
    @Test(arguments: [
        "password", "sslpassword", "sslkey", "passfile", "oauth_client_secret", "scram_client_key", "scram_server_key",
    ])
    func whatAConnectionStringHasOfSecretsIsNeverPrinted(_ name: String) {
        #expect(LibpqSettings.isSecret(name))
        #expect(!LibpqSettings.isSecret("host") && !LibpqSettings.isSecret("sslmode"))
    }

    @Test func timesOfAnyLengthAreWaitedFor() async throws {
        let database = try await TestDatabase.make()
        var settings = database.settings
        settings.connectTimeout = .seconds(Int64.max)
        settings.answerTimeout = .seconds(Int64.max)
        settings.cancelTimeout = .seconds(Int64.max)
        let connection = try await LibpqConnection.open(settings)
        try await connection.query(OutboxStatement("LISTEN \(database.schema)"), within: .seconds(Int64.max))
        async let hasCome = connection.waitForNotification(atMost: .seconds(Int64.max))
        try await connection.query(OutboxStatement("NOTIFY \(database.schema)"))
        #expect(await hasCome)
        await connection.close()
    }

    // A publisher that parks something waits behind a decision, and its statements end at the session time-out.
    @Test(arguments: [(1_000, 500), (1_500, 750), (4_000, 2_000), (10_000, 2_000), (3_600_000, 2_000)])
    func aDecisionWaitsForNoLongerThanAShortSessionBears(session: Int, patience: Int) async throws {
        let test = try await TestOutbox.make { $0.sessionTimeout = .milliseconds(session) }
        #expect(test.outbox.configuration.decisionPatience == .milliseconds(patience))
        #expect(try await test.outbox.decide(.resume, .all) == 0)
        await test.close()
    }
}
