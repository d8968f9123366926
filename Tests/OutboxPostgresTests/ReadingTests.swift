import OutboxDelivery
import Testing

@testable import OutboxPostgres

@Suite(.timeLimit(.minutes(5))) struct ReadingTests {
    // A slot of which little came has no more: a publisher looks at it again when it is told, or at its next poll.
    @Test func aReadEndsBehindTheRowThatUsesItsShareUp() async throws {
        let test = try await TestOutbox.make()
        for size in [1_000, 20_000, 1_000] {
            try await test.write(OutboxMessage(topic: "t", key: "k", payload: [UInt8](repeating: 1, count: size)))
        }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        var request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 100,
            maximumBytes: 32 * 10_000
        )
        #expect(try await session.read(request).map(\.message.payload?.count) == [1_000, 20_000])
        request.maximumBytes = 1
        #expect(try await session.read(request).map(\.message.payload?.count) == [1_000])
        request.maximumBytes = 32 * 22_000
        #expect(try await session.read(request).count == 3)
        await session.close()
        await test.close()
    }

    @Test func keysAndTopicsCountAsPayloadsDo() async throws {
        let test = try await TestOutbox.make()
        let (key, topic) = (String(repeating: "k", count: 3_000), String(repeating: "t", count: 3_000))
        for _ in 0..<4 { try await test.write(OutboxMessage(topic: topic, key: key, payload: "")) }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 100,
            maximumBytes: 32 * 10_000
        )
        #expect(try await session.read(request).count == 2)
        await session.close()
        await test.close()
    }

    @Test func rowsOfNoTimeAndOfAnyAgeHoldUpNothing() async throws {
        let test = try await TestOutbox.make()
        try await test.write(OutboxMessage(topic: "t", key: "k", payload: ""))
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        for time in ["infinity", "-infinity", "4713-01-01 BC", "294276-12-31"] {
            try await test.writer.query(
                OutboxStatement("UPDATE outbox SET created_at = $1::text::timestamptz", [.text(time)])
            )
            let found = try await session.maintain()
            #expect(found.destinations == ["kafka"], "\(time)")
        }
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 100,
            maximumBytes: 1_000_000
        )
        #expect(try await session.read(request).count == 1)
        await session.close()
        await test.close()
    }

    // A mark with a combining character behind it is one character to Swift, and two to PostgreSQL.
    @Test(arguments: ["\"", "\\", "a\"\u{301}", "b\\\u{301}", "{,}"])
    func aDestinationMayHaveAnyName(_ name: String) async throws {
        let test = try await TestOutbox.make { $0.sweepInterval = .nanoseconds(1) }
        try await test.write(OutboxMessage(destination: name, topic: "t", key: "k", payload: ""))
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        let request = OutboxReadRequest(
            destination: name,
            slots: Array(0..<32),
            limitPerSlot: 10,
            maximumBytes: 1_000_000
        )
        var settlement = OutboxSettlement()
        settlement.accepted = try await session.read(request)
        #expect(settlement.accepted.map(\.message.destination) == [name])
        try await session.settle(settlement)
        while session.highestFloor < 1 { _ = try await session.maintain() }
        // Now rows of this destination are looked for below the floor.
        #expect(try await session.maintain().foundBelowFloor == 0)
        await session.close()
        await test.close()
    }
}
