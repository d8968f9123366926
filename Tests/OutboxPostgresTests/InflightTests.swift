import OutboxDelivery
import Testing

@testable import OutboxPostgres

@Suite(.timeLimit(.minutes(5)))
struct InflightTests {
    private func inflight(_ slot: Int, _ number: Int64, _ rows: [Int64]) -> OutboxInflight {
        OutboxInflight(slot: slot, destination: "kafka\"'", number: number, topic: "orders", rows: rows)
    }

    @Test func aBatchIsNotedByTheSlotsOwnerOnlyAndWithANumberThatGrows() async throws {
        let test = try await TestOutbox.make()
        let session = try await test.outbox.openSession()
        let stranger = await #expect(throws: OutboxError.self) { try await session.note(inflight(3, 1, [1])) }
        #expect(stranger?.kind == .fenced)
        let share = try await session.balance(busy: [])
        #expect(share.slots.count == 32)
        #expect(try await session.lastInflight(slot: 3, destination: "kafka\"'") == nil)
        try await session.note(inflight(3, 4, [10, 11]))
        let last = try await session.lastInflight(slot: 3, destination: "kafka\"'")
        #expect(last?.number == 4 && last?.rows == [10, 11] && last?.topic == "orders" && last?.notedAt != nil)
        for number in [4, 3] as [Int64] {
            let late = await #expect(throws: OutboxError.self) { try await session.note(inflight(3, number, [12])) }
            #expect(late?.kind == .fenced)
        }
        try await session.note(inflight(3, 5, [12]))
        #expect(try await session.lastInflight(slot: 3, destination: "kafka\"'")?.rows == [12])
        #expect(try await session.lastInflight(slot: 3, destination: "other") == nil)
        await session.close()
        await test.close()
    }

    @Test func aBatchThatTurnsOutToBeStoredIsDeletedWhereverItsRowsAre() async throws {
        let test = try await TestOutbox.make { $0.archiveDays = 1 }
        for number in 0..<4 { try await test.write(OutboxMessage(topic: "t", key: "k", payload: "\(number)")) }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        _ = try await session.maintain()
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 10,
            maximumBytes: 1_000_000
        )
        let events = try await session.read(request)
        #expect(events.count == 4)
        var settlement = OutboxSettlement()
        settlement.parked = [.init(event: events[1], attempts: 1, reason: "no", withFollowers: false)]
        try await session.settle(settlement)
        let slot = events[0].id.slot
        let batch = OutboxInflight(
            slot: slot,
            destination: "kafka",
            number: 1,
            topic: "t",
            rows: events[0...2].map(\.id.number)
        )
        try await session.conclude(batch)
        // Again: what is gone is gone.
        try await session.conclude(batch)
        #expect(try await test.count() == 1)
        #expect(try await test.count("outbox_parked") == 0)
        #expect(try await test.count("outbox_archive") == 3)
        await session.close()
        await test.close()
    }

    @Test func tablesOfTheFirstVersionAreBroughtToThisOneWithTheirRows() async throws {
        let database = try await TestDatabase.make()
        let writer = try await database.connect()
        let table = try OutboxTable(.postgresql)
        let first = PostgresMigrations.all(table)[0]
        for statement in first.statements + [PostgresMigrations.note(first, table)] {
            try await writer.query(OutboxStatement(statement))
        }
        try await writer.query(table.insert(OutboxMessage(topic: "t", key: "k", payload: "1")))
        await writer.close()
        let test = try await TestOutbox.make(on: database)
        #expect(try await test.outbox.status().schemaVersion == PostgresMigrations.version)
        #expect(try await test.count() == 1)
        // And it is published, with what came after.
        let recorder = Recorder()
        try await running(test.publisher(recorder)) {
            await recorder.wait(for: 1)
            try await test.write(OutboxMessage(topic: "u", key: "k", payload: "2"))
            await recorder.wait(for: 2)
            try await test.wait(until: 0, "SELECT count(*) FROM outbox")
        }
        #expect(recorder.topics == ["t", "u"])
        await test.close()
    }
}
