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

    // Bytes are added up only where a row is larger than its part of a batch; such a row's message does not even come before.
    @Test func rowsWithALargeOneAmongThemAreReadAsThoseWithout() async throws {
        let test = try await TestOutbox.make()
        let sizes = [10, 500, 20_000, 10, 500, 10]
        for (number, size) in sizes.enumerated() {
            try await test.write(
                OutboxMessage(
                    topic: "t",
                    key: "k",
                    payload: [UInt8](repeating: 1, count: size),
                    headers: number % 2 == 0 ? [] : [OutboxHeader("number", "\(number)")]
                )
            )
        }
        try await test.writer.query(OutboxStatement("UPDATE outbox SET headers = '{}' WHERE id = 5"))
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        // A part of 1,000 bytes for each row.
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 10,
            maximumBytes: 32 * 10_000
        )
        let reading = PostgresReading(table: test.outbox.table)
        let floors = [Int64](repeating: 0, count: 32)
        let rows = try await session.query(
            reading.rows(request, floors: floors, looksForHeld: false, isCounted: false)
        )
        #expect(PostgresReading.hasLarge(rows))
        #expect((0..<rows.count).map { rows.bytes($0, 6)?.count } == [10, 500, nil, 10, 500, 10])
        #expect(rows.text(2, 2) == nil && rows.text(2, 4) == nil && rows.bytes(2, 5) == nil)

        var read: [OutboxEvent] = []
        var counts: [Int] = []
        while true {
            var settlement = OutboxSettlement()
            settlement.accepted = try await session.read(request)
            if settlement.accepted.isEmpty { break }
            counts.append(settlement.accepted.count)
            read += settlement.accepted
            try await session.settle(settlement)
        }
        // As far as the large one, and then the rest.
        #expect(counts == [3, 3])
        #expect(read.map(\.message.payload?.count) == sizes)
        #expect(read.map { $0.message.headers.map(\.name) } == [[], ["number"], [], ["number"], [], ["number"]])
        #expect(read.allSatisfy { $0.message.destination == "kafka" && $0.message.topic == "t" && $0.defect == nil })
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

    // PostgreSQL stores 60,000 of the same character in a few hundred bytes.
    @Test func headersCountAsTheyAreAndNotAsTheyAreStored() async throws {
        let test = try await TestOutbox.make()
        let headers = [OutboxHeader("h", String(repeating: "x", count: 60_000))]
        for _ in 0..<4 { try await test.write(OutboxMessage(topic: "t", key: "k", payload: "", headers: headers)) }
        let session = try await test.outbox.openSession()
        _ = try await session.balance(busy: [])
        let request = OutboxReadRequest(
            destination: "kafka",
            slots: Array(0..<32),
            limitPerSlot: 100,
            maximumBytes: 32 * 100_000
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
