import RabbitDelivery
import RabbitDeliveryTesting
import Testing

/// What a broker may say, and RabbitMQ does not, or not when a test wants it.
@Suite(.timeLimit(.minutes(10))) struct ProtocolTests {
    private static func publisher(
        _ broker: ScriptedBroker,
        _ topology: RabbitTopology = .init(),
        _ adjust: (inout RabbitPublisher.Configuration) -> Void = { _ in }
    ) throws -> RabbitPublisher {
        var configuration = RabbitPublisher.Configuration(hosts: ["127.0.0.1:\(broker.port)"], topology: topology)
        adjust(&configuration)
        return try RabbitPublisher(configuration, logger: quiet)
    }

    @Test func anAnswerForMessagesThatWereNotSentConfirmsNone() async throws {
        let broker = try ScriptedBroker(.init(afterPublish: { $0 == 2 ? [.ack(99, multiple: true)] : [] }))
        let publisher = try Self.publisher(broker)
        for result in await publisher.send(contentsOf: ["one", "two"].map { RabbitMessage(queue: "any", body: $0) }) {
            let error = #expect(throws: RabbitError.self) { try result.get() }
            #expect(error?.kind == .protocolViolation)
            #expect(error?.persistence == .possiblyPersisted)
        }
        await publisher.close(within: .zero)
        broker.stop()
    }

    @Test func aChannelThatTheBrokerHasStoppedIsSentNothingUntilItGoesOn() async throws {
        let broker = try ScriptedBroker()
        let publisher = try Self.publisher(broker)
        try await publisher.send(RabbitMessage(queue: "any", body: "before"))
        let events = publisher.events
        broker.say(.flow(isActive: false))
        for await event in events { if case .blocked = event { break } }
        let during = try await publisher.enqueue(RabbitMessage(queue: "any", body: "during"))
        broker.say(.flow(isActive: true))
        for await event in events { if case .unblocked = event { break } }
        #expect(try await during.confirmation.sequenceNumber == 2)
        broker.say(.flow(isActive: false))
        for await event in events { if case .blocked = event { break } }
        let never = try await publisher.enqueue(RabbitMessage(queue: "any", body: "never"))
        // Sent, it would be confirmed by then.
        #expect(await publisher.close(within: .milliseconds(500)).failed == 1)
        let error = await #expect(throws: RabbitError.self) { try await never.confirmation }
        #expect(error?.persistence == .notPersisted)
        broker.stop()
    }

    @Test func aMessageThatComesBackWhileAConnectionClosesDoesNotEndItBeforeTheBrokerHasAnswered() async throws {
        // More than a socket's buffers hold: where the client goes early, the broker cannot write it all.
        let broker = try ScriptedBroker(.init(beforeCloseOk: [.returned(size: 16 << 20)]))
        // A client waits half a second for the answer, which a busy machine may have for others.
        for _ in 0..<50 where broker.orderlyCloseCount == 0 {
            let publisher = try Self.publisher(broker)
            try await publisher.waitUntilConnected(within: .seconds(60))
            await publisher.close()
        }
        #expect(broker.orderlyCloseCount > 0)
        broker.stop()
    }

    @Test func aTopologyMayTakeLongerThanOneConnectionAttemptWhereEachAnswerComesInTime() async throws {
        let broker = try ScriptedBroker(.init(latency: .milliseconds(300)))
        let exchanges = (0..<12).map { RabbitTopology.Exchange("orders-\($0)", .fanout) }
        let publisher = try Self.publisher(broker, .init(exchanges: exchanges)) {
            $0.broker.connectionTimeout = .seconds(3)
        }
        // The channel, twelve exchanges, confirmations: more than four seconds.
        try await publisher.waitUntilConnected(within: .seconds(120))
        await publisher.close()
        broker.stop()
    }

    @Test func sendsThatAreCancelledWhileThereIsNoConnectionGiveTheirRoomToOthers() async throws {
        let peer = try LoopbackPeer(answer: "")
        var configuration = RabbitPublisher.Configuration(hosts: ["127.0.0.1:\(peer.port)"])
        configuration.maximumUnconfirmed = 2
        let publisher = try RabbitPublisher(configuration, logger: quiet)
        let began = ContinuousClock.now
        for _ in 0..<2 {
            let sending = Task { try await publisher.send(RabbitMessage(queue: "any", body: "")) }
            sending.cancel()
            await #expect(throws: RabbitError.self) { try await sending.value }
        }
        let batch = Task {
            await publisher.send(contentsOf: (0..<2).map { RabbitMessage(queue: "any", body: "\($0)") })
        }
        batch.cancel()
        _ = await batch.value
        // What was recalled is no reason to wait.
        try await publisher.flush()
        for body in ["one", "two"] { _ = try await publisher.enqueue(RabbitMessage(queue: "any", body: body)) }
        // By then they would have had their time, and their room would be free for that.
        #expect(ContinuousClock.now - began < configuration.confirmTimeout / 2)
        #expect(await publisher.close(within: .zero).failed == 2)
        withExtendedLifetime(peer) {}
    }

    @Test func aHeaderThatTheBrokerMadeLargerThanAFrameIsReadAndTheMessageDoesNotComeForEver() async throws {
        var place = try await Place.make()
        let dead = place.queue + "-dead"
        place.topology.queues[0].deadLetterExchange = ""
        place.topology.queues[0].deadLetterRoutingKey = dead
        place.topology.queues.append(.init(dead))
        // Nearly a frame of headers: `x-death` has no room in it any more.
        var properties = RabbitProperties()
        properties.headers["large"] = .string(String(repeating: "x", count: 130_900))
        let publisher = try place.publisher()
        try await publisher.send(RabbitMessage(queue: place.queue, body: "text", properties: properties))
        await publisher.close()
        let consumer = try place.consumer()
        for try await delivery in consumer.deliveries {
            delivery.reject()
            break
        }
        await consumer.close()
        let letter = try #require(try await place.drain(1, of: dead).first)
        #expect(letter.text == "text")
        #expect(letter.headers["large"]?.string?.count == 130_900)
        #expect(letter.deadLetter?.queue == place.queue)
        #expect(letter.generation == 1)
    }
}
