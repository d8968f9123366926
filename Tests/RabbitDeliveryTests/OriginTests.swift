import Testing

@testable import RabbitDelivery

/// Where a message comes from is read from headers that any sender may write.
@Suite struct OriginTests {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private static func consumer() throws -> RabbitConsumer {
        try RabbitConsumer(.init(hosts: ["localhost"], queue: "orders"))
    }

    private static func delivery(
        _ headers: RabbitTable,
        attempt: Int = 1,
        of consumer: RabbitConsumer? = nil
    ) throws -> RabbitConsumer.Delivery {
        let consumer = try consumer ?? Self.consumer()
        let properties = RabbitProperties(headers: headers)
        let pool = AMQPPool()
        let bytes = [UInt8](unsafeUninitializedCapacity: 200_000) { buffer, count in
            count = properties.encode(sequence: nil, into: UnsafeMutableRawBufferPointer(buffer), pool: pool) ?? 0
        }
        try #require(!bytes.isEmpty)
        let message = ReceivedMessage(
            ChannelGeneration(1, consumer.core),
            .init(tag: 1, isRedelivered: false, exchange: "shop", routingKey: "new"),
            ReceivedContent(properties: bytes, body: [1]),
            attempt: attempt
        )
        return RabbitConsumer.Delivery(message)
    }

    private static func copy(
        _ delivery: RabbitConsumer.Delivery,
        _ error: String = "it is broken",
        without shedding: CopyHeader.Shedding = .nothing
    ) -> RabbitMessage {
        RabbitOrigin(delivery, queue: "orders").copy(
            of: delivery,
            exchange: "",
            routingKey: "dead",
            error: Failure(description: error),
            comesBack: false,
            without: shedding
        )
    }

    // The marks are one character.
    @Test(arguments: [("क्षि", 1_000), ("👨‍👩‍👧‍👦", 500), ("\u{301}", 10_000), ("x", 100_000)])
    func anErrorsTextOfAnyCharactersTravelsInFourKibibytes(part: String, count: Int) throws {
        let text = String(repeating: part, count: count)
        let header = try #require(Self.copy(Self.delivery([:]), text).properties.headers["x-exception-message"]?.string)
        #expect((4_000...4_096).contains(header.utf8.count))
    }

    struct Count: Sendable {
        let header: RabbitFieldValue
        var attempt = 1
        let expected: Int
    }

    static var counts: [Count] {
        [
            Count(header: .int64(.max), expected: .max - 1), Count(header: .int64(.max - 1), expected: .max - 1),
            Count(header: .int64(.max - 2), expected: .max - 1),
            Count(header: .int64(.max), attempt: 7, expected: .max - 1),
            Count(header: .int64(.min), attempt: 3, expected: 3), Count(header: .int32(-5), expected: 1),
            Count(header: .uint32(.max), expected: 4_294_967_296), Count(header: .int64(2), attempt: 3, expected: 5),
            Count(header: "nonsense", expected: 1),
        ]
    }

    @Test(arguments: counts) func attemptsOfAHeaderAreCountedOnAsFarAsCanBeCounted(count: Count) async throws {
        let consumer = try Self.consumer()
        let delivery = try Self.delivery(["x-attempts": count.header], attempt: count.attempt, of: consumer)
        #expect(RabbitOrigin(delivery, queue: "orders").attempts == count.expected)
        // What follows from it: the retry queue of that round, and what is said of the next attempt.
        let publisher = try RabbitPublisher(.init(hosts: ["127.0.0.1:1"]))
        let handling = RabbitHandling(
            core: consumer.core,
            retryQueues: RabbitRetryQueues([.seconds(1), .seconds(2)], through: publisher),
            deadLetters: nil,
            attemptsInPlace: 1
        )
        let record = handling.record(Failure(description: "x"), of: delivery)
        #expect((handling.retryRoute(after: record) != nil) == (count.expected <= 2))
        handling.note(
            .storedForRetry(record, .published(exchange: "", routingKey: "orders-retry-1s", after: .seconds(1))),
            of: delivery
        )
        await publisher.close(within: .zero)
    }

    @Test func aNameThatIsTooLongForAMQPIsNoOrigin() throws {
        let long = String(repeating: "n", count: 300)
        let names = ["x-original-exchange", "x-original-routingKey", "x-original-queue"]
        let delivery = try Self.delivery(RabbitTable(names.map { ($0, .string(long)) }))
        let origin = RabbitOrigin(delivery, queue: "orders")
        #expect(origin.exchange == "shop")
        #expect(origin.routingKey == "new")
        #expect(origin.queue == "orders")
        #expect(Self.copy(delivery).fault(maximumBodyBytes: 1_000) == nil)
        let longest = String(repeating: "n", count: 255)
        let named = RabbitOrigin(try Self.delivery(RabbitTable(names.map { ($0, .string(longest)) })), queue: "orders")
        #expect(named.exchange == longest)
        #expect(named.routingKey == longest)
        #expect(named.queue == longest)
    }

    @Test func whatIsAddedIsLeftOutStepByStepAndNothingOfTheApplications() throws {
        let headers: RabbitTable = [
            "mine": "kept", "CC": ["elsewhere"], "x-redrives": 2, "x-original-death": [["queue": "orders-retry-1s"]],
            "x-death": [["queue": "orders", "reason": "rejected"]],
        ]
        let delivery = try Self.delivery(headers)
        let all = Self.copy(delivery).properties.headers
        #expect(all["x-exception-message"]?.string == "it is broken")
        let text = Self.copy(delivery, without: .text).properties.headers
        #expect(text["x-exception-message"] == nil)
        #expect(text["x-exception-type"]?.string == "Failure")
        #expect(text["x-death"] != nil)
        let origin = Self.copy(delivery, without: .allButOrigin).properties.headers
        let kept = [
            "mine", "x-redrives", "x-original-exchange", "x-original-routingKey", "x-original-queue", "x-attempts",
        ]
        #expect(Set(origin.map(\.name)) == Set(kept))
        #expect(origin["mine"]?.string == "kept")
    }
}
