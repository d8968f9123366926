import Foundation
import OutboxDelivery
import OutboxTesting
import Testing

@testable import OutboxPostgres

@Suite(.timeLimit(.minutes(5)))
struct LongStatementTests {
    /// An outbox whose session lets each row that is read take a while.
    private func slow() async throws -> (TestOutbox, PostgresSession) {
        let database = try await TestDatabase.make()
        let connection = try await database.connect()
        // Stands before PostgreSQL's own, which reading calls for each row.
        try await connection.query(
            OutboxStatement(
                """
                CREATE FUNCTION octet_length(bytea) RETURNS int LANGUAGE plpgsql
                AS 'BEGIN PERFORM pg_sleep(0.3); RETURN length($1); END'
                """
            )
        )
        await connection.close()
        let test = try await TestOutbox.make(on: database) { configuration in
            configuration.connection.connection += "%2Cpg_catalog"
            configuration.sessionTimeout = .seconds(60)
        }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        try await session.query(OutboxStatement("SET statement_timeout = '5s'"))
        return (test, session)
    }

    // Of 12 slots at once it would be ended each time, and the next session begin from nothing.
    @Test func aReadThatTakesLongerThanAStatementMayIsDoneSlotBySlot() async throws {
        let (test, session) = try await slow()
        // A key of each.
        try await test.writer.query(
            OutboxStatement(
                """
                INSERT INTO outbox (idempotency_key, topic, key, payload)
                SELECT key, key, convert_to(key, 'UTF8'), '' FROM (
                    SELECT DISTINCT ON (slot) slot, key FROM (
                        SELECT 'k' || n AS key, get_byte(sha256(convert_to('k' || n, 'UTF8')), 0) & 31 AS slot
                        FROM generate_series(1, 10000) n
                    ) k ORDER BY slot, key
                ) one WHERE slot < 12
                """
            )
        )
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 10,
            maximumBytes: 1_000_000
        )
        #expect(try await session.read(request).map(\.id.slot) == Array(0..<12))
        // The session goes on, with its slots.
        #expect(try await session.balance(busy: []).slots.count == 32)
        await session.close()
        await test.close()
    }

    // As a stopped process does: its server waits for it to read, and looks at no time-out meanwhile.
    @Test func aPublisherThatStandsStillWhileItIsSentRowsLosesItsSlotsToOthers() async throws {
        let server = try await PostgresServer.start()
        let database = try await TestDatabase.make(on: server.url)
        let test = try await TestOutbox.make(on: database) { $0.sessionTimeout = .seconds(10) }
        let relation = try await test.writer.query(OutboxStatement("SELECT 'outbox'::regclass::oid::bigint"))
        let still = try UnreadConnection(url: server.url)
        try still.send(
            """
            SELECT pg_advisory_lock_shared(\(relation.integer(0, 0) ?? 0), 32);
            SELECT pg_advisory_lock(\(relation.integer(0, 0) ?? 0), n) FROM generate_series(0, 31) n;
            SELECT repeat('x', 1000000) FROM generate_series(1, 100)
            """
        )
        try await test.wait(until: 1, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'")
        let next = try await test.outbox.openSession()
        #expect(try await next.balance(busy: []).slots.isEmpty)
        while try await next.balance(busy: []).slots.count < 32 {}
        await next.close()
        await test.close()
        await server.shutdown()
        still.close()
    }
}
