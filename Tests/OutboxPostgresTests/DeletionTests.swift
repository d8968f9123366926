import OutboxDelivery
import Testing

@testable import OutboxPostgres

@Suite(.timeLimit(.minutes(5)))
struct DeletionTests {
    private static let request = OutboxReadRequest(
        destination: "kafka",
        slots: Array(0..<32),
        limitPerSlot: 1_000,
        maximumBytes: 32_000_000
    )

    /// Rows with these numbers, all of one key.
    private static func insert(
        _ test: TestOutbox,
        key: String,
        from first: Int,
        to last: Int,
        by step: Int
    ) async throws {
        try await test.writer.query(
            OutboxStatement(
                """
                INSERT INTO outbox (id, idempotency_key, topic, key, payload)
                SELECT n, n::text, $1, convert_to($1, 'UTF8'), 'x' FROM generate_series($2::bigint, $3::bigint, $4::bigint) n
                """,
                [.text(key), .integer(Int64(first)), .integer(Int64(last)), .integer(Int64(step))]
            )
        )
    }

    private static func numbers(
        _ test: TestOutbox,
        _ topic: String,
        in table: String = "outbox"
    ) async throws -> [Int64] {
        let rows = try await test.writer.query(
            OutboxStatement("SELECT id FROM \(table) WHERE topic = $1 ORDER BY id", [.text(topic)])
        )
        return (0..<rows.count).compactMap { rows.integer($0, 0) }
    }

    // 200 rows are deleted by the range of their slot, and three by their numbers.
    @Test(arguments: [200, 3], [nil, 7])
    func whatWasCommittedMeanwhileBetweenTheRowsOfABatchStays(_ count: Int, _ archiveDays: Int?) async throws {
        let test = try await TestOutbox.make { $0.archiveDays = archiveDays }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        try await Self.insert(test, key: "one", from: 2, to: 2 * count, by: 2)
        var settlement = OutboxSettlement()
        settlement.accepted = try await session.read(Self.request)
        #expect(settlement.accepted.count == count)
        // A transaction that had drawn its numbers before; and one of another slot with the same numbers, written by hand.
        try await Self.insert(test, key: "one", from: 1, to: 2 * count, by: 2)
        try await Self.insert(test, key: "two", from: 2, to: 2 * count, by: 2)
        #expect(Set(try await session.read(Self.request).map(\.id.slot)).count == 2)
        try await session.settle(settlement)
        #expect(try await Self.numbers(test, "one") == stride(from: 1, to: 2 * Int64(count), by: 2).map(\.self))
        #expect(try await Self.numbers(test, "two") == settlement.accepted.map(\.id.number))
        if archiveDays != nil {
            #expect(try await Self.numbers(test, "one", in: "outbox_archive") == settlement.accepted.map(\.id.number))
        }
        await session.close()
        await test.close()
    }

    @Test(arguments: [nil, 7])
    func aBatchOfSeveralSlotsIsDeletedAsAWhole(_ archiveDays: Int?) async throws {
        let test = try await TestOutbox.make { $0.archiveDays = archiveDays }
        try await test.writer.query(
            OutboxStatement(
                """
                INSERT INTO outbox (idempotency_key, topic, key, payload)
                SELECT n::text, 't', int4send(n), convert_to(repeat('x', 200), 'UTF8') FROM generate_series(1, 4000) n
                """
            )
        )
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        var settlement = OutboxSettlement()
        settlement.accepted = try await session.read(Self.request)
        #expect(settlement.accepted.count == 4_000)
        // The last are not confirmed.
        let left = settlement.accepted.suffix(10).map(\.id)
        settlement.accepted.removeLast(10)
        try await session.settle(settlement)
        #expect(try await session.read(Self.request).map(\.id) == left)
        if archiveDays != nil { #expect(try await test.count("outbox_archive") == 3_990) }
        await session.close()
        await test.close()
    }

    // What the statistics say of a table that was large, and is filled again before they are renewed: next to nothing.
    @Test func aBatchIsDeletedThroughTheIndexWhateverTheStatisticsSay() async throws {
        let test = try await TestOutbox.make()
        try await Self.insert(test, key: "one", from: 1, to: 20_000, by: 1)
        try await test.writer.query(OutboxStatement("VACUUM ANALYZE outbox"))
        let session = try await test.outbox.openSession()
        let rows = (1...4_000).map { OutboxEvent.ID(slot: 5, number: $0) }
        let settling = PostgresSettling(table: test.outbox.table)
        for rowCount in [20_000, 0] {
            try await test.writer.query(
                OutboxStatement(
                    "UPDATE pg_class SET reltuples = $1::int WHERE oid = 'outbox'::regclass",
                    [.integer(Int64(rowCount))]
                )
            )
            let delete = settling.deletions(rows)[0]
            let plan = try await session.query(OutboxStatement("EXPLAIN " + delete.text, delete.values))
            let lines = (0..<plan.count).compactMap { plan.text($0, 0) }
            #expect(lines.contains { $0.contains("Index Scan using outbox_pkey") }, "\(lines)")
            #expect(lines.contains { $0.contains("Index Cond: ((slot = ") && $0.contains("(id >= ") }, "\(lines)")
            #expect(!lines.contains { $0.contains("Loop") || $0.contains("Join") }, "\(lines)")
        }
        await session.close()
        await test.close()
    }

    // PostgreSQL would plan a statement that comes again for any values from the sixth time on, and then compare each row with all.
    @Test func aDeletionThatIsPreparedIsPlannedForTheNumbersThatItHas() async throws {
        let test = try await TestOutbox.make { $0.connection.maximumPreparedStatements = 10 }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        for round in 0..<8 {
            try await Self.insert(test, key: "one", from: round * 1_000 + 1, to: round * 1_000 + 300, by: 1)
            var settlement = OutboxSettlement()
            settlement.accepted = try await session.read(Self.request)
            #expect(settlement.accepted.count == 300)
            try await session.settle(settlement)
            #expect(try await test.count() == 0)
        }
        let plans = try await session.query(
            OutboxStatement(
                """
                SELECT sum(custom_plans)::bigint, sum(generic_plans)::bigint FROM pg_prepared_statements
                WHERE statement LIKE '%DELETE%BETWEEN%'
                """
            )
        )
        #expect(plans.integer(0, 0) ?? 0 >= 6)
        #expect(plans.integer(0, 1) == 0)
        await session.close()
        await test.close()
    }

    @Test func rowsFarApartAreNotDenseAndThoseOfOneSlotAreOne() {
        let near = PostgresSpans((0..<200).map { OutboxEvent.ID(slot: $0 % 2, number: Int64($0) * 32) })
        #expect(near.spans.map(\.slot) == [0, 1])
        #expect(near.spans[0].first == 0)
        #expect(near.spans[1].last == 199 * 32)
        #expect(near.spans[0].numbers.count == 100)
        #expect(!PostgresSpans((0..<200).map { OutboxEvent.ID(slot: $0 % 32, number: Int64($0)) }).areDense)
        #expect(near.areDense)
        #expect(!PostgresSpans((0..<200).map { OutboxEvent.ID(slot: 0, number: Int64($0) * 100) }).areDense)
        #expect(!PostgresSpans((0..<50).map { OutboxEvent.ID(slot: 0, number: $0) }).areDense)
        let ends = [OutboxEvent.ID(slot: 0, number: .min), OutboxEvent.ID(slot: 0, number: .max)]
        #expect(!PostgresSpans(ends).areDense)
        #expect(!PostgresSpans([]).areDense)
    }
}
