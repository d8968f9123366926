import Synchronization
import Testing

@testable import RabbitDelivery

/// Where a consumer reads on: `x-stream-offset` is the broker's word of a stream, and in a queue a sender's.
@Suite struct StreamHeaderTests {
    private static func receive(_ offsets: [Int64], _ consumer: RabbitConsumer, channel: Int) throws -> [Int64] {
        let deliveries = offsets.enumerated().map { index, offset in
            let properties = Self.encoded(RabbitProperties(headers: ["x-stream-offset": .int64(offset)]))
            let tag = UInt64(index + 1)
            return (
                ServerMethod.Deliver(tag: tag, isRedelivered: false, exchange: "", routingKey: "any"),
                ReceivedContent(properties: properties, body: [])
            )
        }
        let core = consumer.core
        try core.queue.withLock { queue in
            queue.begin(ChannelGeneration(channel, core))
            _ = try queue.add(deliveries)
        }
        var handed: [Int64] = []
        while let message = try core.queue.withLock({ $0.next() })?.get() {
            handed.append(message.properties.headers["x-stream-offset"]?.integer ?? -1)
            core.acknowledge(message)
        }
        core.queue.withLock { queue in
            _ = queue.takeAnswers(at: .now, threshold: 1)
            queue.end()
        }
        return handed
    }

    private static func encoded(_ properties: RabbitProperties) -> [UInt8] {
        let pool = AMQPPool()
        return [UInt8](unsafeUninitializedCapacity: 4_096) { bytes, count in
            count = properties.encode(sequence: nil, into: UnsafeMutableRawBufferPointer(bytes), pool: pool) ?? 0
        }
    }

    private static func resume(_ consumer: RabbitConsumer) -> RabbitFieldValue? {
        for case .consume(_, _, _, let arguments) in consumer.core.channelRequests {
            return arguments["x-stream-offset"]
        }
        return nil
    }

    @Test func aHeaderThatASenderHasSetMakesNoStreamOfAQueue() throws {
        // Declared, or not: AMQP does not say of what kind a queue is.
        for queues in [[], [RabbitTopology.Queue("orders"), .init("other", .stream)]] {
            let configuration = RabbitConsumer.Configuration(
                hosts: ["localhost"],
                queue: "orders",
                topology: .init(queues: queues)
            )
            let consumer = try RabbitConsumer(configuration)
            #expect(try Self.receive([100, 101], consumer, channel: 1) == [100, 101])
            // The broker would refuse it of a queue, for good.
            #expect(Self.resume(consumer) == nil)
            // Smaller ones are no repetitions.
            #expect(try Self.receive([7, 101], consumer, channel: 2) == [7, 101])
        }
    }

    @Test func aStreamThatTheSettingsNameIsReadOnAtItsFirstMessageWithoutAVerdict() throws {
        var byArgument = RabbitConsumer.Configuration(hosts: ["localhost"], queue: "orders")
        byArgument.arguments["x-stream-offset"] = "next"
        var byTopology = RabbitConsumer.Configuration(hosts: ["localhost"], queue: "orders")
        byTopology.topology.queues = [.init("orders", .stream)]
        var byQueueArgument = byTopology
        byQueueArgument.topology.queues = [.init("orders", arguments: ["x-queue-type": "stream"])]
        for configuration in [byArgument, byTopology, byQueueArgument] {
            let consumer = try RabbitConsumer(configuration)
            #expect(try Self.receive([100, 101], consumer, channel: 1) == [100, 101])
            #expect(Self.resume(consumer) == 102)
            // The broker sends whole chunks.
            #expect(try Self.receive([101, 102], consumer, channel: 2) == [102])
        }
    }

    @Test func copiesAndReplaysDoNotSayWhereInAStreamTheirMessageWas() throws {
        let consumer = try RabbitConsumer(.init(hosts: ["localhost"], queue: "orders"))
        var properties = RabbitProperties(headers: ["x-stream-offset": 5, "x-delivery-count": 2, "own": "kept"])
        properties.contentType = "text/plain"
        let message = ReceivedMessage(
            ChannelGeneration(1, consumer.core),
            .init(tag: 1, isRedelivered: false, exchange: "", routingKey: "orders"),
            ReceivedContent(properties: Self.encoded(properties), body: [])
        )
        let delivery = RabbitConsumer.Delivery(message)
        #expect(delivery.headers["x-stream-offset"]?.integer == 5)
        let origin = RabbitOrigin(delivery, queue: "orders")
        for comesBack in [false, true] {
            let copy = origin.copy(
                of: delivery,
                exchange: "",
                routingKey: "elsewhere",
                error: CancellationError(),
                comesBack: comesBack
            )
            #expect(copy.properties.headers["x-stream-offset"] == nil)
            #expect(copy.properties.headers["x-delivery-count"] == nil)
            #expect(copy.properties.headers["own"] == "kept")
        }
        let replay = RabbitRedrive.replay(delivery, "", "orders", 1)
        #expect(replay.properties.headers["x-stream-offset"] == nil)
        #expect(replay.properties.headers["x-delivery-count"] == nil)
        #expect(replay.properties.headers["own"] == "kept")
    }
}
