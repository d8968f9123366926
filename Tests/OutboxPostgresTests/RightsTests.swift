import OutboxDelivery
import OutboxPostgres
import Testing

/// What a publisher could not delete or park it would send again and again: it is refused before it sends anything.
@Suite(.timeLimit(.minutes(5)))
struct RightsTests {
    /// An outbox, and its database as a role sees it that may do what a publisher does.
    private struct Limited {
        let test: TestOutbox
        let role: String
        let configuration: PostgresOutbox.Configuration

        static func make() async throws -> Limited {
            let test = try await TestOutbox.make()
            let role = test.database.schema
            for statement in [
                "CREATE ROLE \(role)", "GRANT USAGE ON SCHEMA \(role) TO \(role)",
                "GRANT SELECT ON outbox_schema TO \(role)", "GRANT SELECT ON SEQUENCE outbox_id_seq TO \(role)",
                "GRANT SELECT, DELETE ON outbox TO \(role)",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_parked TO \(role)",
                "GRANT SELECT, INSERT, UPDATE ON outbox_inflight TO \(role)",
                "GRANT SELECT, INSERT ON outbox_archive TO \(role)",
            ] { try await test.writer.query(OutboxStatement(statement)) }
            let settings = LibpqSettings(test.database.settings.connection + "%20-crole%3D" + role)
            return Limited(test: test, role: role, configuration: try PostgresOutbox.Configuration(settings))
        }

        func open(_ configure: (inout PostgresOutbox.Configuration) -> Void = { _ in }) async throws {
            var configuration = configuration
            configure(&configuration)
            let outbox = try PostgresOutbox(configuration)
            await (try outbox.openSession()).close()
        }

        func refusal(_ configure: (inout PostgresOutbox.Configuration) -> Void = { _ in }) async -> OutboxError? {
            await #expect(throws: OutboxError.self) { try await open(configure) }
        }

        func close() async throws {
            for statement in ["DROP OWNED BY \(role)", "DROP ROLE \(role)"] {
                try await test.writer.query(OutboxStatement(statement))
            }
            await test.close()
        }
    }

    @Test(arguments: [
        "DELETE ON outbox", "DELETE ON outbox_parked", "INSERT ON outbox_parked", "UPDATE ON outbox_parked",
        "SELECT ON SEQUENCE outbox_id_seq",
    ])
    func aPublisherThatMayNotDeleteOrParkIsRefusedBeforeItSendsAnything(_ right: String) async throws {
        let limited = try await Limited.make()
        try await limited.open()
        try await limited.test.writer.query(OutboxStatement("REVOKE \(right) FROM \(limited.role)"))
        let error = await limited.refusal()
        #expect(error?.kind == .invalidConfiguration && error?.recovery == .fixRequest && error?.code == "42501")
        try await limited.test.writer.query(OutboxStatement("GRANT \(right) TO \(limited.role)"))
        try await limited.open()
        try await limited.close()
    }

    // The rights that the documentation names are enough.
    @Test func aPublisherWithTheRightsThatItNeedsDoesAllOfItsWork() async throws {
        let limited = try await Limited.make()
        try await limited.test.write(OutboxMessage(topic: "t", key: "k", payload: "1"))
        let session = try await PostgresOutbox(limited.configuration).openSession()
        #expect(try await session.balance(busy: []).slots.count == 32)
        #expect(try await session.maintain().destinations == ["kafka"])
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 10,
            maximumBytes: 1_000_000
        )
        let event = try #require(try await session.read(request).first)
        let batch = OutboxInflight(
            slot: event.id.slot,
            destination: "kafka",
            number: 1,
            topic: "t",
            rows: [event.id.number]
        )
        try await session.note(batch)
        #expect(try await session.lastInflight(slot: event.id.slot, destination: "kafka")?.number == 1)
        var settlement = OutboxSettlement()
        settlement.accepted = [event]
        try await session.settle(settlement)
        try await session.conclude(batch)
        #expect(try await limited.test.count() == 0)
        await session.close()
        try await limited.close()
    }

    @Test func aSessionThatOnlyReadsIsRefusedUntilItMayWrite() async throws {
        let limited = try await Limited.make()
        let error = await limited.refusal { configuration in
            configuration.connection.connection += "%20-cdefault_transaction_read_only%3Don"
        }
        #expect(error?.kind == .unavailable && error?.recovery == .retry)
        try await limited.close()
    }

    // Without a partition for today each deletion would fail.
    @Test func anArchiveWithoutAPlaceForTodayIsRefusedAndOneThatAPersonMadeIsNot() async throws {
        let limited = try await Limited.make()
        let error = await limited.refusal { $0.archiveDays = 1 }
        #expect(error?.kind == .invalidConfiguration && error?.recovery == .fixRequest && error?.code == "42501")
        let partition = "CREATE TABLE other PARTITION OF outbox_archive DEFAULT"
        try await limited.test.writer.query(OutboxStatement(partition))
        try await limited.open { $0.archiveDays = 1 }
        #expect(try await limited.test.count("outbox_archive") == 0)
        try await limited.test.writer.query(OutboxStatement("REVOKE INSERT ON outbox_archive FROM \(limited.role)"))
        #expect(await limited.refusal { $0.archiveDays = 1 }?.code == "42501")
        try await limited.close()
    }

    @Test func whatCannotBeDeletedComesAgainRowByRowUntilItCan() async throws {
        let test = try await TestOutbox.make { $0.sessionTimeout = .seconds(60) }
        for statement in [
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the disk is full'; END $$",
            "CREATE TRIGGER refuse BEFORE DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()",
        ] { try await test.writer.query(OutboxStatement(statement)) }
        for number in 0..<50 { try await test.write(OutboxMessage(topic: "t", key: "\(number)", payload: "")) }
        let recorder = Recorder()
        let publisher = test.publisher(recorder)
        try await running(publisher) {
            var lost = 0
            for await event in publisher.events {
                guard case .sessionLost(let error) = event else { continue }
                #expect(error.code == "P0001")
                lost += 1
                if lost == 6 { break }
            }
            // One for each session, and what one more sends before this is looked at.
            #expect(recorder.topics.count <= 50 + 2 * lost)
            try await test.writer.query(OutboxStatement("DROP TRIGGER refuse ON outbox"))
            try await test.wait(until: 0, "SELECT count(*) FROM outbox")
        }
        await test.close()
    }

    // The partitions are made by a connection of their own, which may fail by chance: that is tried again.
    @Test func anArchiveWhosePlaceCannotBeMadeJustNowIsTriedAgain() async throws {
        let test = try await TestOutbox.make { $0.archiveDays = 1 }
        try await test.writer.query(OutboxStatement("BEGIN"))
        try await test.writer.query(OutboxStatement("LOCK TABLE outbox_archive IN SHARE UPDATE EXCLUSIVE MODE"))
        let error = await #expect(throws: OutboxError.self) { try await test.outbox.openSession() }
        #expect(error?.kind == .unavailable && error?.recovery == .retry)
        try await test.writer.query(OutboxStatement("ROLLBACK"))
        await (try test.outbox.openSession()).close()
        await test.close()
    }
}
