import RabbitDelivery
import RabbitDeliveryTesting
import Testing

/// What a network does that is no end of a connection, or one in the middle of a frame. Through a relay: the broker itself is well.
@Suite(.timeLimit(.minutes(5))) struct NetworkFaultTests {
    private static func place(
        _ kind: RabbitTopology.Queue.Kind = .classic
    ) async throws -> (place: Place, direct: Place, relay: LoopbackRelay) {
        let direct = try await Place.make(kind)
        let port = direct.broker.hosts[0].split(separator: ":").last.flatMap { Int($0) }
        let relay = try LoopbackRelay(to: try #require(port))
        var place = direct
        place.broker.hosts = ["127.0.0.1:\(relay.port)"]
        // A connection whose greeting was swallowed is given up soon.
        place.broker.connectionTimeout = .seconds(5)
        return (place, direct, relay)
    }

    @Test func aBlackHoleIsNoticedByTheHeartbeatsAndTheMessageMayBeStored() async throws {
        var (place, direct, relay) = try await Self.place()
        place.broker.heartbeat = .seconds(3)
        let publisher = try place.publisher()
        try await publisher.send(RabbitMessage(queue: place.queue, body: "before"))
        relay.set(.swallows)
        let began = ContinuousClock.now
        let error = await #expect(throws: RabbitError.self) {
            try await publisher.send(RabbitMessage(queue: place.queue, body: "swallowed"))
        }
        // By the heartbeats, and not by the deadline of a minute.
        #expect(ContinuousClock.now - began < .seconds(30))
        #expect(error?.kind == .connectionLost && error?.persistence == .possiblyPersisted)
        relay.set(.none)
        try await publisher.send(RabbitMessage(queue: place.queue, body: "after"))
        await publisher.close()
        relay.stop()
        #expect(try await direct.drain(2).map(\.text) == ["before", "after"])
    }

    @Test func ofAFrameThatIsWrittenInPartNothingIsStoredAndThePublisherComesBack() async throws {
        let (place, direct, relay) = try await Self.place()
        let publisher = try place.publisher()
        try await publisher.send(RabbitMessage(queue: place.queue, body: "before"))
        // Within the method, within the header, and within a body of several frames.
        for count in [20, 90, 200_000] {
            relay.set(.cutsRequests(after: count))
            let error = await #expect(throws: RabbitError.self) {
                try await publisher.send(
                    RabbitMessage(queue: place.queue, body: [UInt8](repeating: 7, count: 300_000))
                )
            }
            #expect(error?.kind == .connectionLost && error?.persistence == .possiblyPersisted)
            try await publisher.send(RabbitMessage(queue: place.queue, body: "after \(count)"))
        }
        await publisher.close()
        relay.stop()
        #expect(try await direct.drain(4).map(\.text) == ["before", "after 20", "after 90", "after 200000"])
    }

    @Test func aStreamIsReadOnWhereItWasAcknowledgedAndNotFromItsBeginningAgain() async throws {
        let (place, direct, relay) = try await Self.place(.stream)
        try await direct.send((0..<6).map { "\($0)" })
        var configuration = RabbitConsumer.Configuration(
            place.broker,
            queue: place.queue,
            prefetch: 100,
            topology: place.topology
        )
        configuration.arguments["x-stream-offset"] = "first"
        let consumer = try RabbitConsumer(configuration, logger: quiet)
        let events = consumer.events
        var iterator = consumer.deliveries.makeAsyncIterator()
        var held: [RabbitConsumer.Delivery] = []
        for _ in 0..<6 { held.append(try #require(try await iterator.next())) }
        #expect(held.map(\.text) == (0..<6).map { "\($0)" })
        // The acknowledgements are what the connection is cut at. 3 has no verdict: what is behind it comes again.
        relay.set(.cutsRequests(after: 0))
        for index in [0, 1, 2, 4] { held[index].acknowledge() }
        var again: [String] = []
        while again.last != "5" {
            let delivery = try #require(try await iterator.next())
            again.append(delivery.text ?? "")
            if again.last == "5" { relay.set(.cutsRequests(after: 0)) }
            delivery.acknowledge()
        }
        #expect(again == ["3", "4", "5"])
        // Everything is acknowledged: the next that comes is new.
        for await event in events { if case .connected(_, 3) = event { break } }
        try await direct.send(["6"])
        let last = try #require(try await iterator.next())
        #expect(last.text == "6")
        #expect(last.generation == 3)
        last.acknowledge()
        await consumer.close()
        relay.stop()
    }

    @Test func aQueueWhoseMessagesHaveTheHeaderOfAStreamIsConsumedOnAfterAReconnect() async throws {
        let (place, direct, relay) = try await Self.place()
        let publisher = try direct.publisher()
        for (body, offset) in [("a", 100), ("b", 7)] as [(String, RabbitFieldValue)] {
            var message = RabbitMessage(queue: place.queue, body: body)
            message.properties.headers["x-stream-offset"] = offset
            try await publisher.send(message)
        }
        await publisher.close()
        let consumer = try place.consumer(prefetch: 1)
        let events = consumer.events
        var iterator = consumer.deliveries.makeAsyncIterator()
        #expect(try await iterator.next()?.text == "a")
        relay.cut()
        for await event in events { if case .connected(_, 2) = event { break } }
        var seen: [String?] = []
        for _ in 0..<2 {
            let delivery = try #require(try await iterator.next())
            seen.append(delivery.text)
            delivery.acknowledge()
        }
        #expect(seen == ["a", "b"])
        #expect(await consumer.close().acknowledgementsReachedBroker)
        relay.stop()
        #expect(try await direct.messageCount() == 0)
    }

    @Test func aFrameThatArrivesInPartIsNoDeliveryAndComesAgainWhole() async throws {
        let (place, direct, relay) = try await Self.place()
        let publisher = try direct.publisher()
        for number in 0..<10 {
            let body = [UInt8](repeating: UInt8(number), count: 50_000)
            try await publisher.send(RabbitMessage(queue: place.queue, body: body))
        }
        await publisher.close()
        let consumer = try place.consumer(prefetch: 2)
        var seen: Set<UInt8> = []
        for try await delivery in consumer.deliveries {
            #expect(delivery.body.count == 50_000 && Set(delivery.body).count == 1)
            // In the middle of the next one.
            if seen.insert(delivery.body[0]).inserted, seen.count < 4 { relay.set(.cutsAnswers(after: 20_000)) }
            delivery.acknowledge()
            if seen.count == 10 { break }
        }
        #expect(await consumer.close().acknowledgementsReachedBroker)
        relay.stop()
        #expect(try await direct.messageCount() == 0)
    }

    @Test func whatIsRejectedOnAChannelThatIsGoneIsNoDeadLetterAndComesAgain() async throws {
        var (place, direct, relay) = try await Self.place()
        let dead = place.queue + "-dead"
        place.topology.queues[0].deadLetterExchange = ""
        place.topology.queues[0].deadLetterRoutingKey = dead
        place.topology.queues.append(.init(dead))
        direct.topology = place.topology
        try await direct.send(["once more"])
        let consumer = try place.consumer()
        let (events, network) = (consumer.events, relay)
        try await consumer.forEach(retry: .none, deadLetters: .reject) { delivery in
            guard delivery.generation == 1 else {
                Task { await consumer.close() }
                return
            }
            let events = consumer.events
            network.cut()
            for await event in events { if case .connected(_, 2) = event { break } }
            throw Broken()
        }
        var rejections = 0
        for await event in events { if case .rejected = event { rejections += 1 } }
        #expect(rejections == 0)
        relay.stop()
        #expect(try await direct.messageCount(dead) == 0)
        #expect(try await direct.messageCount() == 0)
    }
}
