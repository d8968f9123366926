import OutboxDelivery
import Testing

@testable import OutboxPostgres

@Suite(.timeLimit(.minutes(5)))
struct FloorTests {
    private let lane = PostgresFloor.Lane(slot: 3, destination: "kafka")

    @Test func theFloorNeverPassesAnUndecidedNumber() {
        var floor = PostgresFloor()
        // A writer has drawn a number up to 10 and is open.
        #expect(floor.observe(last: 10, holders: ["a"]) == nil)
        #expect(floor.observe(last: 20, holders: ["a", "b"]) == nil)
        #expect(floor.of(lane) == .min)
        // It has ended; what was drawn after the first look is still undecided.
        #expect(floor.observe(last: 30, holders: ["b"]) == 10)
        floor.complete(lane, first: nil, upTo: 10)
        #expect(floor.of(lane) == 10)
    }

    @Test func aRowThatIsLeftKeepsTheFloorBelowIt() {
        var floor = PostgresFloor()
        #expect(floor.observe(last: 10, holders: []) == 10)
        floor.complete(lane, first: 7, upTo: 10)
        #expect(floor.of(lane) == 6)
        floor.complete(lane, first: 12, upTo: 10)
        #expect(floor.of(lane) == 10)
        // It does not go back.
        floor.complete(lane, first: 5, upTo: 10)
        #expect(floor.of(lane) == 10)
    }

    @Test func numbersThatGoBackwardsForgetTheFloor() {
        var floor = PostgresFloor()
        _ = floor.observe(last: 10, holders: [])
        floor.complete(lane, first: nil, upTo: 10)
        _ = floor.observe(last: 2, holders: [])
        #expect(floor.of(lane) == .min)
    }

    @Test func theFloorMovesBesideALongReaderAndStopsAtAnOpenWriter() async throws {
        let test = try await TestOutbox.make()
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 100,
            maximumBytes: 1_000_000
        )

        let reader = try await test.database.connect()
        try await reader.query(OutboxStatement("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        try await reader.query(OutboxStatement("SELECT count(*) FROM outbox"))
        let writer = try await test.database.connect()
        for number in 0..<20 { try await test.write(OutboxMessage(topic: "\(number)", key: "\(number)", payload: "")) }
        try await writer.query(OutboxStatement("BEGIN"))
        try await writer.query(try test.outbox.table.insert(OutboxMessage(topic: "late", key: "late", payload: "")))
        var settlement = OutboxSettlement()
        settlement.accepted = try await session.read(request)
        #expect(settlement.accepted.count == 20)
        try await session.settle(settlement)
        for _ in 0..<5 { _ = try await session.maintain() }
        // Were the floor past it, it would not be found.
        try await writer.query(OutboxStatement("COMMIT"))
        #expect(try await session.read(request).map(\.message.topic) == ["late"])
        for _ in 0..<5 { _ = try await session.maintain() }
        #expect(session.highestFloor >= 20)
        #expect(try await session.read(request).map(\.message.topic) == ["late"])
        try await reader.query(OutboxStatement("COMMIT"))
        await reader.close()
        await writer.close()
        await session.close()
        await test.close()
    }

    // Between two looks the transaction changes hands, and is undecided all the same.
    @Test func theFloorStopsAtATransactionThatIsPreparedBetweenTwoLooks() async throws {
        let test = try await TestOutbox.make()
        let name = "undecided_\(test.database.schema)"
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 100,
            maximumBytes: 1_000_000
        )
        _ = try await session.read(request)
        let writer = try await test.database.connect()
        try await writer.query(OutboxStatement("BEGIN"))
        try await writer.query(try test.outbox.table.insert(OutboxMessage(topic: "1", key: "k", payload: "")))
        _ = try await session.maintain()
        try await writer.query(OutboxStatement("PREPARE TRANSACTION '\(name)'"))
        for _ in 0..<3 { _ = try await session.maintain() }
        try await writer.query(OutboxStatement("COMMIT PREPARED '\(name)'"))
        try await test.write(OutboxMessage(topic: "2", key: "k", payload: ""))
        #expect(try await session.read(request).map(\.message.topic) == ["1", "2"])
        await writer.close()
        await session.close()
        await test.close()
    }

    @Test func theSweepFindsALowNumberThatWasWrittenByHand() async throws {
        let test = try await TestOutbox.make { $0.sweepInterval = .milliseconds(1) }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 100,
            maximumBytes: 1_000_000
        )
        try await test.write(OutboxMessage(topic: "1", key: "k", payload: ""))
        var settlement = OutboxSettlement()
        settlement.accepted = try await session.read(request)
        try await session.settle(settlement)
        while session.highestFloor == 0 { _ = try await session.maintain() }
        try await test.writer.query(
            OutboxStatement("INSERT INTO outbox (id, idempotency_key, topic, key) VALUES (-5, 'low', 'low', 'k')")
        )
        #expect(try await session.read(request).isEmpty)
        while try await session.maintain().foundBelowFloor == 0 {}
        #expect(try await session.read(request).map(\.message.topic) == ["low"])
        await session.close()
        await test.close()
    }
}
