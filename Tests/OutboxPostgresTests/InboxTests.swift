import OutboxDelivery
import Synchronization
import Testing

@testable import OutboxPostgres

@Suite(.timeLimit(.minutes(5))) struct PostgresInboxTests {
    private struct Failure: Error {}

    private let place = InboxPlace(topic: "t", partition: 3)

    private func make(_ change: (inout PostgresInbox.Configuration) -> Void = { _ in }) async throws -> (
        PostgresInbox, LibpqConnection
    ) {
        let database = try await TestDatabase.make()
        var configuration = PostgresInbox.Configuration(database.settings, consumer: "c'\"--")
        change(&configuration)
        let inbox = try PostgresInbox(configuration)
        try await inbox.migrate()
        let connection = try await database.connect()
        try await connection.query(
            OutboxStatement("CREATE TABLE effect (id bigserial PRIMARY KEY, number bigint NOT NULL)")
        )
        return (inbox, connection)
    }

    private func messages(_ offsets: ClosedRange<Int64>, key: String? = nil) -> [InboxMessage] {
        offsets.map { InboxMessage(place: place, offset: $0, idempotencyKey: key.map { Array($0.utf8) }) }
    }

    @Sendable private static func note(_ offset: Int64, _ transaction: LibpqConnection.Transaction) async throws {
        try await transaction.query(OutboxStatement("INSERT INTO effect (number) VALUES ($1)", [.integer(offset)]))
    }

    @discardableResult
    private func receive(_ inbox: PostgresInbox, _ messages: [InboxMessage]) async throws -> [Int64] {
        try await inbox.receive(messages) { transaction, new in
            for index in new { try await Self.note(messages[index].offset, transaction) }
        }.map { messages[$0].offset }
    }

    private func effects(_ connection: LibpqConnection) async throws -> [Int64] {
        let rows = try await connection.query(OutboxStatement("SELECT number FROM effect ORDER BY id"))
        return (0..<rows.count).compactMap { rows.integer($0, 0) }
    }

    @Test func anEffectAndItsOffsetAreStoredTogether() async throws {
        let (inbox, connection) = try await make()
        #expect(try await inbox.nextOffset(of: place) == nil)
        try await receive(inbox, messages(7...7))
        #expect(try await inbox.nextOffset(of: place) == 8)
        #expect(try await inbox.nextOffset(of: InboxPlace(topic: "t", partition: 4)) == nil)
        await #expect(throws: Failure.self) {
            try await inbox.receive(messages(8...8)) { transaction, _ in
                try await Self.note(8, transaction)
                throw Failure()
            }
        }
        #expect(try await inbox.nextOffset(of: place) == 8)
        #expect(try await effects(connection) == [7])
        await inbox.close()
    }

    @Test func aMemberThatStandsStillInsideOfATransactionHoldsItsPartitionNoLongerThanTheTimeOut() async throws {
        let (inbox, connection) = try await make { $0.transactionTimeout = .seconds(5) }
        let isInside = Flag()
        let mayGoOn = Flag()
        let still = Task {
            try await inbox.receive(messages(0...0)) { transaction, _ in
                try await Self.note(0, transaction)
                isInside.set()
                await mayGoOn.wait()
                try await Self.note(0, transaction)
            }
        }
        await isInside.wait()
        // The new owner of the partition waits for the row, and gets it when the server has ended the other session. It may itself be
        // told that it waited for too long, and tries again, as a consumer does.
        var taken: [Int64] = []
        while taken.isEmpty { taken = (try? await receive(inbox, messages(0...0))) ?? [] }
        mayGoOn.set()
        await #expect(throws: OutboxError.self) { try await still.value }
        #expect(try await effects(connection) == [0])
        await inbox.close()
    }

    // A pooler gives the session to others, and each transaction another one.
    @Test func theTimeOutsOfATransactionEndWithIt() async throws {
        let (inbox, connection) = try await make { $0.transactionTimeout = .seconds(70) }
        let query = OutboxStatement(
            "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout')"
        )
        let found = Mutex<[String?]>([])
        await #expect(throws: Failure.self) {
            try await inbox.receive(messages(0...0)) { transaction, _ in
                let inside = try await transaction.query(query)
                // What is left for the session's next transaction.
                try await transaction.query(OutboxStatement("COMMIT"))
                let after = try await transaction.query(query)
                found.withLock {
                    $0 = [inside.text(0, 0), inside.text(0, 1), after.text(0, 0), after.text(0, 1)]
                }
                throw Failure()
            }
        }
        let own = try await connection.query(query)
        #expect(found.withLock { $0 } == ["70s", "70s", own.text(0, 0), own.text(0, 1)])
        await inbox.close()
    }

    @Test func whereAPartitionBeginsIsWaitedForNoLongerThanTheTimeOut() async throws {
        let database = try await TestDatabase.make()
        var configuration = PostgresInbox.Configuration(database.settings, consumer: "c")
        let inbox = try PostgresInbox(configuration)
        try await inbox.migrate()
        try await inbox.receive(messages(0...0)) { _, _ in }
        configuration.transactionTimeout = .seconds(2)
        let impatient = try PostgresInbox(configuration)
        let connection = try await database.connect()
        try await connection.withTransaction { transaction in
            try await transaction.query(OutboxStatement("SELECT next FROM inbox_offset FOR UPDATE"))
            var code: String?
            // On a machine that is busy with something else the transaction itself may stand still for too long: then its session ends.
            while code != "55P03" {
                code = await #expect(throws: OutboxError.self) { try await impatient.nextOffset(of: place) }?.code
            }
        }
        #expect(try await inbox.nextOffset(of: place) == 1)
        await inbox.close()
        await impatient.close()
    }

    // After a failover another host may be the one that writes.
    @Test func aConnectionToAServerThatOnlyReadsIsNotUsedAgain() async throws {
        let database = try await TestDatabase.make()
        var settings = LibpqSettings(database.settings.connection + "%20-cdefault_transaction_read_only%3Don")
        settings.applicationName = "reads-" + database.schema
        let reader = try PostgresInbox(.init(settings, consumer: "c"))
        let writer = try PostgresInbox(.init(database.settings, consumer: "c"))
        try await writer.migrate()
        let error = await #expect(throws: OutboxError.self) { try await receive(reader, messages(0...0)) }
        #expect(error?.code == "25006")
        let connection = try await database.connect()
        let sessions = OutboxStatement(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1",
            [.text(settings.applicationName)]
        )
        while try await connection.query(sessions).integer(0, 0) != 0 { try await Task.sleep(for: .milliseconds(2)) }
        await reader.close()
        await writer.close()
    }

    @Test func anEffectIsNotStoredWhereThePartitionsRowIsGoneAndTheNextAttemptMakesItAnew() async throws {
        let (inbox, connection) = try await make()
        // As where a person deletes the row that another member has stored first, between two statements of this one.
        for statement in [
            "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER pass BEFORE INSERT ON inbox_offset FOR EACH ROW EXECUTE FUNCTION pass()",
        ] {
            try await connection.query(OutboxStatement(statement))
        }
        let error = await #expect(throws: OutboxError.self) { try await receive(inbox, messages(0...0, key: "k")) }
        #expect(error?.kind == .fenced && error?.recovery == .retry && error?.persistence == .notPersisted)
        #expect(error?.reason.contains("t [3]") == true)
        #expect(try await effects(connection) == [])
        #expect(try await inbox.nextOffset(of: place) == nil)
        try await connection.query(OutboxStatement("DROP TRIGGER pass ON inbox_offset"))
        #expect(try await receive(inbox, messages(0...0, key: "k")) == [0])
        #expect(try await effects(connection) == [0])
        #expect(try await inbox.nextOffset(of: place) == 1)
        await inbox.close()
    }

    @Test func whatComesAgainHasNoSecondEffect() async throws {
        let (inbox, connection) = try await make()
        #expect(try await receive(inbox, messages(0...4)) == [0, 1, 2, 3, 4])
        #expect(try await receive(inbox, messages(0...4)).isEmpty)
        #expect(try await receive(inbox, messages(3...6)) == [5, 6])
        #expect(try await effects(connection) == Array(0...6))
        // Sent twice: a key that is known, at another offset and at another place.
        #expect(try await receive(inbox, messages(7...8, key: "k")) == [7])
        #expect(try await receive(inbox, messages(9...9, key: "k")).isEmpty)
        var elsewhere = messages(0...0, key: "k")
        elsewhere[0].place.partition = 9
        #expect(try await receive(inbox, elsewhere).isEmpty)
        #expect(try await inbox.nextOffset(of: place) == 10)
        await inbox.close()
    }

    @Test func twoMembersThatBothThinkTheyOwnAPartitionHaveOneEffect() async throws {
        let (inbox, connection) = try await make()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for offset in 0..<50 as Range<Int64> { try await receive(inbox, messages(offset...offset)) }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await effects(connection) == Array(0..<50))
        await inbox.close()
    }

    @Test func aSessionThatIsEndedInATransactionHasNoEffectAndTheNextAttemptHasOne() async throws {
        let (inbox, connection) = try await make()
        let error = await #expect(throws: OutboxError.self) {
            try await inbox.receive(messages(0...0)) { transaction, _ in
                try await Self.note(0, transaction)
                let own = try await transaction.query(OutboxStatement("SELECT pg_backend_pid()")).integer(0, 0) ?? 0
                try await connection.query(OutboxStatement("SELECT pg_terminate_backend($1)", [.integer(own)]))
                try await Self.note(0, transaction)
            }
        }
        #expect(error?.recovery == .retry)
        #expect(try await receive(inbox, messages(0...0)) == [0])
        #expect(try await effects(connection) == [0])
        await inbox.close()
    }

    @Test func transactionsWaitForAConnectionWhereAllAreTaken() async throws {
        let (inbox, connection) = try await make { $0.maximumConnections = 2 }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for partition in 0..<12 {
                group.addTask {
                    let message = InboxMessage(
                        place: InboxPlace(topic: "t", partition: partition),
                        offset: 0,
                        idempotencyKey: nil
                    )
                    try await inbox.receive([message]) { transaction, _ in
                        try await Self.note(Int64(partition), transaction)
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await effects(connection).sorted() == Array(0..<12))
        let sessions = try await connection.query(
            OutboxStatement(
                """
                SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%' || current_schema || '%'
                """
            )
        )
        #expect((sessions.integer(0, 0) ?? 99) <= 2)
        await inbox.close()
        let closed = await #expect(throws: OutboxError.self) { try await inbox.nextOffset(of: place) }
        #expect(closed?.kind == .closed)
    }

    // A restart ends what is idle, and no message should have to fail for it.
    @Test func aConnectionThatEndedWhileItWasIdleIsNotHandedOut() async throws {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        let pool = LibpqPool(database.settings, maximum: 1)
        let pid = OutboxStatement("SELECT pg_backend_pid()::bigint")
        let (first, core) = try await pool.withConnection { connection in
            (try await connection.query(pid).integer(0, 0), connection.core)
        }
        try await connection.query(OutboxStatement("SELECT pg_terminate_backend($1::int)", [.integer(first ?? 0)]))
        await core.waitForEnd()
        let second = try await pool.withConnection { try await $0.query(pid).integer(0, 0) }
        #expect(second != nil && second != first)
        await pool.close()
        await connection.close()
    }

    @Test func keysAreForgottenAfterTheirTime() async throws {
        let (inbox, connection) = try await make()
        for offset in 0..<6 as Range<Int64> { try await receive(inbox, messages(offset...offset, key: "\(offset)")) }
        try await connection.query(OutboxStatement("UPDATE inbox_seen SET at = at - interval '8 days'"))
        for offset in 6..<9 as Range<Int64> { try await receive(inbox, messages(offset...offset, key: "\(offset)")) }
        let left = try await connection.query(OutboxStatement("SELECT count(*) FROM inbox_seen")).integer(0, 0)
        #expect(left == 3)
        await inbox.close()
    }

    @Test func aConsumerWithAShortMemoryForgetsItsOwnKeysOnly() async throws {
        let database = try await TestDatabase.make()
        var settings = PostgresInbox.Configuration(database.settings, consumer: "long")
        let long = try PostgresInbox(settings)
        (settings.consumer, settings.rememberFor) = ("short", .seconds(60))
        let short = try PostgresInbox(settings)
        try await long.migrate()
        let receive = { (inbox: PostgresInbox, offset: Int64, key: String) in
            try await inbox.receive(messages(offset...offset, key: key)) { _, _ in }.count
        }
        for inbox in [long, short] { #expect(try await receive(inbox, 0, "k") == 1) }
        let connection = try await database.connect()
        try await connection.query(OutboxStatement("UPDATE inbox_seen SET at = at - interval '1 hour'"))
        for offset in 1..<4 as Range<Int64> { #expect(try await receive(short, offset, "\(offset)") == 1) }
        #expect(try await receive(long, 1, "k") == 0)
        #expect(try await receive(short, 4, "k") == 1)
        await long.close()
        await short.close()
    }

    @Test func tablesAreMadeOnceAndAMissingOrNewerSchemaIsNamed() async throws {
        let database = try await TestDatabase.make()
        let inbox = try PostgresInbox(.init(database.settings, consumer: "c"))
        #expect(
            await #expect(throws: OutboxError.self) { try await inbox.nextOffset(of: place) }?.kind == .schemaVersion
        )
        try await withThrowingTaskGroup(of: [Int].self) { group in
            for _ in 0..<4 { group.addTask { try await inbox.migrate() } }
            var made: [Int] = []
            for try await numbers in group { made += numbers }
            #expect(made == [1, 2])
        }
        let connection = try await database.connect()
        try await connection.query(OutboxStatement("INSERT INTO inbox_schema (version) VALUES (9)"))
        #expect(
            await #expect(throws: OutboxError.self) { try await inbox.nextOffset(of: place) }?.kind == .schemaVersion
        )
        await #expect(throws: OutboxError.self) { try await inbox.migrate() }
        await inbox.close()
    }

    @Test func aSettingThatCannotBeUsedIsRefused() {
        let settings = LibpqSettings("host=localhost")
        for change in [
            { $0.consumer = "" }, { $0.consumer = "a\0" }, { $0.maximumConnections = 0 }, { $0.rememberFor = .zero },
            { $0.prefix = "" },
        ] as [(inout PostgresInbox.Configuration) -> Void] {
            var configuration = PostgresInbox.Configuration(settings, consumer: "c")
            change(&configuration)
            let changed = configuration
            #expect(#expect(throws: OutboxError.self) { try PostgresInbox(changed) }?.kind == .invalidConfiguration)
        }
    }

    @Test func messagesOutOfOrderOrOfTwoPartitionsAreRefused() async throws {
        let (inbox, connection) = try await make()
        var other = messages(0...1)
        other[1].place.topic = "u"
        for wrong in [other, messages(0...1).reversed(), messages(0...0) + messages(0...0)] {
            let error = await #expect(throws: OutboxError.self) { try await receive(inbox, wrong) }
            #expect(error?.kind == .invalidMessage)
        }
        #expect(try await receive(inbox, []).isEmpty)
        #expect(try await effects(connection).isEmpty)
        await inbox.close()
    }
}
