import Logging
import RabbitDelivery
import RabbitDeliveryTesting
import Testing

@Suite(.timeLimit(.minutes(5))) struct PublisherTests {
    private static func publisher(
        _ topology: RabbitTopology = .init(),
        _ adjust: (inout RabbitPublisher.Configuration) -> Void = { _ in }
    ) async throws -> RabbitPublisher {
        let server = try await RabbitServer.shared()
        var configuration = RabbitPublisher.Configuration(try await server.makeBroker(), topology: topology)
        adjust(&configuration)
        return try RabbitPublisher(configuration, logger: quiet)
    }

    @Test func anUnroutableMessageIsAnErrorAndTheOthersAreConfirmed() async throws {
        let queue = try await RabbitServer.shared().unique("orders")
        let publisher = try await Self.publisher(.init(queues: [.init(queue)]))
        // Two of each, alike: only the broker's answer tells them apart.
        var messages: [RabbitMessage] = []
        for index in 0..<200 {
            messages.append(RabbitMessage(queue: index % 5 == 0 ? "nowhere" : queue, body: "same"))
        }
        let results = await publisher.send(contentsOf: messages)
        for (index, result) in results.enumerated() {
            switch result {
            case .success: #expect(index % 5 != 0)
            case .failure(let error):
                #expect(index % 5 == 0)
                #expect(error.kind == .returned)
                #expect(error.persistence == .notPersisted)
                #expect(error.returned?.code == 312)
                #expect(error.returned?.message.routingKey == "nowhere")
            }
        }
        var optional = RabbitMessage(queue: "nowhere", body: "")
        optional.isMandatory = false
        try await publisher.send(optional)
        await publisher.close()
    }

    @Test func aMissingExchangeFailsWhatIsUnderWayAndThePublisherGoesOn() async throws {
        let queue = try await RabbitServer.shared().unique("orders")
        let publisher = try await Self.publisher(.init(queues: [.init(queue)]))
        let error = await #expect(throws: RabbitError.self) {
            try await publisher.send(RabbitMessage(exchange: "no-such", routingKey: "", body: ""))
        }
        #expect(error?.kind == .notFound)
        #expect(error?.code == 404)
        #expect(error?.persistence == .possiblyPersisted)
        #expect(error?.recovery == .fixRequest)
        let confirmation = try await publisher.send(RabbitMessage(queue: queue, body: ""))
        #expect(confirmation == RabbitConfirmation(generation: 2, sequenceNumber: 1))
        await publisher.close()
    }

    @Test func aQueueThatRefusesWhenItIsFullIsANack() async throws {
        var queue = RabbitTopology.Queue(try await RabbitServer.shared().unique("small"))
        queue.maximumLength = 1
        queue.refusesWhenFull = true
        let publisher = try await Self.publisher(.init(queues: [queue]))
        try await publisher.send(RabbitMessage(queue: queue.name, body: "fits"))
        let error = await #expect(throws: RabbitError.self) {
            // The queue counts what is ready, which may be a moment late.
            for _ in 0..<20 { try await publisher.send(RabbitMessage(queue: queue.name, body: "too many")) }
        }
        #expect(error?.kind == .nacked)
        #expect(error?.persistence == .possiblyPersisted)
        #expect(error?.recovery == .retry)
        await publisher.close()
    }

    @Test func sendersWaitForRoomAndNothingIsLostInIt() async throws {
        let queue = try await RabbitServer.shared().unique("orders")
        let publisher = try await Self.publisher(.init(queues: [.init(queue)])) { $0.maximumUnconfirmed = 3 }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<100 {
                group.addTask { try await publisher.send(RabbitMessage(queue: queue, body: "\(index)")) }
            }
            try await group.waitForAll()
        }
        await publisher.close()
    }

    @Test func flushWaitsForAllThatWasAcceptedBefore() async throws {
        let queue = try await RabbitServer.shared().unique("orders")
        let publisher = try await Self.publisher(.init(queues: [.init(queue)]))
        var pending: [RabbitPublisher.PendingConfirmation] = []
        for index in 0..<100 {
            pending.append(try await publisher.enqueue(RabbitMessage(queue: queue, body: "\(index)")))
        }
        try await publisher.flush()
        let summary = await publisher.close(within: .zero)
        #expect(summary == .init())
        for (index, each) in pending.enumerated() {
            #expect(try await each.confirmation.sequenceNumber == UInt64(index + 1))
        }
        try await publisher.flush()
        let error = await #expect(throws: RabbitError.self) {
            try await publisher.send(RabbitMessage(queue: queue, body: "late"))
        }
        #expect(error?.kind == .closed)
    }

    @Test func aCancelledSendOfWhichNothingWasWrittenIsNotSent() async throws {
        let peer = try LoopbackPeer(answer: "")
        let publisher = try RabbitPublisher(.init(hosts: ["127.0.0.1:\(peer.port)"]), logger: quiet)
        let sending = Task { try await publisher.send(RabbitMessage(queue: "any", body: "")) }
        sending.cancel()
        let error = await #expect(throws: RabbitError.self) { try await sending.value }
        #expect(error?.kind == .cancelled)
        #expect(error?.persistence == .notPersisted)
        let many = Task {
            await publisher.send(contentsOf: (0..<10).map { RabbitMessage(queue: "any", body: "\($0)") })
        }
        many.cancel()
        let results = await many.value
        #expect(results.count == 10)
        for result in results {
            #expect(throws: RabbitError.self) { try result.get() }
        }
        #expect(await publisher.close(within: .zero).unknown == 0)
    }

    @Test func theMessageForWhichTheChannelWasClosedIsToldFromThoseThatWereUnderWayWithIt() async throws {
        let queue = try await RabbitServer.shared().unique("orders")
        let publisher = try await Self.publisher(.init(queues: [.init(queue)]))
        var messages = (0..<3).map { RabbitMessage(queue: queue, body: "\($0)") }
        messages[1].properties.userID = "another"
        let results = await publisher.send(contentsOf: messages)
        let culprit = #expect(throws: RabbitError.self) { try results[1].get() }
        #expect(culprit?.code == 406)
        #expect(culprit?.recovery == .fixRequest)
        for index in [0, 2] {
            // Confirmed before, or lost with the channel.
            if case .failure(let error) = results[index] { #expect(error.recovery == .retry) }
        }
        await publisher.close()
    }

    @Test func ofATopicThatIsNotAllowedTheOtherMessagesOfItsExchangeMayBeSentAgain() async throws {
        let place = try await Place.make()
        // Rights are the broker's affair, and another's broker keeps its own.
        guard place.server.canBeHarmed else { return }
        var topology = place.topology
        topology.exchanges = [.init("shop", .topic)]
        topology.bindings = [.init(queue: place.queue, to: "shop", routingKey: "#")]
        _ = try await place.server.evaluate(
            "rabbit_auth_backend_internal:set_topic_permissions(<<\"guest\">>, <<\"\(place.broker.virtualHost)\">>, "
                + "<<\"shop\">>, <<\"^new\">>, <<\".*\">>, <<\"test\">>)."
        )
        let publisher = try RabbitPublisher(.init(place.broker, topology: topology), logger: quiet)
        let keys = ["new.a", "new.b", "secret", "new.c", "new.d"]
        let results = await publisher.send(
            contentsOf: keys.map { RabbitMessage(exchange: "shop", routingKey: $0, body: $0) }
        )
        let culprit = #expect(throws: RabbitError.self) { try results[2].get() }
        #expect(culprit?.kind == .authorization && culprit?.recovery == .fixRequest)
        for index in [0, 1, 3, 4] {
            // Confirmed before, or lost with the channel.
            if case .failure(let error) = results[index] { #expect(error.recovery == .retry) }
        }
        await publisher.close()
    }

    @Test func aTaskThatIsCancelledSendsNoneOfABatch() async throws {
        let queue = try await RabbitServer.shared().unique("orders")
        let publisher = try await Self.publisher(.init(queues: [.init(queue)]))
        try await publisher.waitUntilConnected(within: .seconds(60))
        let sending = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await publisher.send(contentsOf: (0..<500).map { RabbitMessage(queue: queue, body: "\($0)") })
        }
        let results = await sending.value
        #expect(results.count == 500)
        for result in results {
            let error = #expect(throws: RabbitError.self) { try result.get() }
            #expect(error?.kind == .cancelled && error?.persistence == .notPersisted)
        }
        await publisher.close()
    }

    @Test func aPublisherThatIsDroppedStillSends() async throws {
        let queue = try await RabbitServer.shared().unique("orders")
        var publisher: RabbitPublisher? = try await Self.publisher(.init(queues: [.init(queue)]))
        let pending = try await #require(publisher).enqueue(RabbitMessage(queue: queue, body: "text"))
        publisher = nil
        #expect(try await pending.confirmation.sequenceNumber == 1)
    }
}
