import RabbitDelivery
import RabbitDeliveryTesting
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5))) struct ConsumerTests {
    @Test(arguments: [RabbitTopology.Queue.Kind.classic, .quorum])
    func whatIsAcknowledgedIsGoneAndTheRestComesAgain(_ kind: RabbitTopology.Queue.Kind) async throws {
        let place = try await Place.make(kind)
        try await place.send((0..<100).map { "\($0)" })
        let first = try place.consumer()
        var seen: [String?] = []
        for try await delivery in first.deliveries {
            seen.append(delivery.text)
            if seen.count % 2 == 0 { delivery.acknowledge() }
            if seen.count == 100 { break }
        }
        #expect(seen == (0..<100).map { "\($0)" })
        let summary = await first.close()
        #expect(summary.acknowledgementsReachedBroker)
        let rest = try await place.drain(50)
        let unacknowledged = stride(from: 0, to: 100, by: 2).map { "\($0)" }
        #expect(rest.compactMap(\.text).sorted() == unacknowledged.sorted())
        #expect(rest.allSatisfy { $0.isRedelivered })
        if kind == .quorum { #expect(rest.allSatisfy { $0.brokerDeliveryCount == 1 }) }
        #expect(try await place.messageCount() == 0)
    }

    @Test func prefetchBoundsWhatIsHeld() async throws {
        let place = try await Place.make()
        try await place.send((0..<20).map { "\($0)" })
        let consumer = try place.consumer(prefetch: 5)
        var iterator = consumer.deliveries.makeAsyncIterator()
        var held: [RabbitConsumer.Delivery] = []
        for _ in 0..<5 { held.append(try #require(try await iterator.next())) }
        // The others are still in the queue for another consumer, all of them.
        let others = try await place.drain(15)
        #expect(others.map(\.text) == (5..<20).map { "\($0)" })
        for delivery in held { delivery.acknowledge() }
        await consumer.close()
        #expect(try await place.messageCount() == 0)
    }

    @Test func whatFailedComesAgainAfterItsTimeAndTheQueueKnowsNothingOfIt() async throws {
        let place = try await Place.make()
        try await place.send(["a", "b"])
        let consumer = try place.consumer()
        var iterator = consumer.deliveries.makeAsyncIterator()
        let first = try #require(try await iterator.next())
        let second = try #require(try await iterator.next())
        #expect(second.text == "b")
        let began = ContinuousClock.now
        first.negativelyAcknowledge(Broken(), after: .milliseconds(200))
        let again = try #require(try await iterator.next())
        #expect(again.text == "a")
        #expect(again.attempt == 2)
        #expect(!again.isRedelivered)
        #expect(ContinuousClock.now - began >= .milliseconds(200))
        // The first verdict counted; this one is the second attempt's.
        first.acknowledge()
        again.acknowledge()
        second.requeue()
        let requeued = try #require(try await iterator.next())
        #expect(requeued.isRedelivered)
        requeued.acknowledge()
        await consumer.close()
        #expect(try await place.messageCount() == 0)
    }

    @Test func closingWaitsForWhatIsInHandAndForNoMore() async throws {
        let place = try await Place.make()
        try await place.send(["a", "b", "c"])
        // The broker sends the third only after one of the others is acknowledged.
        let consumer = try place.consumer(prefetch: 2)
        var iterator = consumer.deliveries.makeAsyncIterator()
        var first: RabbitConsumer.Delivery? = try await iterator.next()
        let second = try #require(try await iterator.next())
        let closing = Task { await consumer.close(within: .seconds(60)) }
        #expect(try await iterator.next() == nil)
        first?.acknowledge()
        first = nil
        second.acknowledge()
        let summary = await closing.value
        #expect(summary.acknowledgementsReachedBroker)
        #expect(summary.unsettled == 0)
        // The third was never handed out.
        #expect(try await place.drain(1).map(\.text) == ["c"])
    }

    // The connection's thread is on its way to tell the broker when the end comes.
    @Test func whatIsAcknowledgedJustBeforeTheEndIsToldBeforeTheChannelIsClosed() async throws {
        let place = try await Place.make()
        let publisher = try place.publisher()
        for round in 0..<100 {
            try await publisher.send(RabbitMessage(queue: place.queue, body: "\(round)"))
            let consumer = try place.consumer()
            var iterator = consumer.deliveries.makeAsyncIterator()
            let delivery = try #require(try await iterator.next())
            #expect(delivery.text == "\(round)" && !delivery.isRedelivered)
            delivery.acknowledge()
            #expect(await consumer.close().acknowledgementsReachedBroker)
        }
        await publisher.close()
        #expect(try await place.messageCount() == 0)
    }

    @Test func aQueueThatIsMissingEndsTheLoopWithItsName() async throws {
        var place = try await Place.make()
        place.topology = .init()
        let consumer = try place.consumer(of: "no-such")
        let error = await #expect(throws: RabbitError.self) {
            for try await _ in consumer.deliveries {}
        }
        #expect(error?.kind == .notFound)
        #expect(error?.reason.contains("no-such") == true)
        await consumer.close()
    }

    @Test func anExclusiveQueueElsewhereSurfacesAndDoesNotLoop() async throws {
        var place = try await Place.make()
        place.topology.queues[0].isExclusive = true
        let owner = try place.publisher()
        try await owner.send(RabbitMessage(queue: place.queue, body: ""))
        let consumer = try place.consumer()
        let error = await #expect(throws: RabbitError.self) {
            for try await _ in consumer.deliveries {}
        }
        #expect(error?.kind == .resourceLocked)
        await consumer.close()
        await owner.close()
    }

    @Test func aCancelledLoopEndsAndLosesNothing() async throws {
        let place = try await Place.make()
        let consumer = try place.consumer()
        let loop = Task { for try await delivery in consumer.deliveries { delivery.acknowledge() } }
        loop.cancel()
        try await loop.value
        try await place.send(["a"])
        var iterator = consumer.deliveries.makeAsyncIterator()
        try await iterator.next()?.acknowledge()
        await consumer.close()
    }

    @Test func largeBodiesAndEmptyOnesArriveAsTheyWere() async throws {
        let place = try await Place.make()
        let publisher = try place.publisher()
        let sizes = [0, 1, 131_064, 131_065, 5_000_000]
        for size in sizes {
            let body = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            var message = RabbitMessage(queue: place.queue, body: body)
            message.properties.correlationID = "\(size)"
            message.properties.headers = ["deep": ["a": [1, ["b": true]]]]
            try await publisher.send(message)
        }
        await publisher.close()
        let deliveries = try await place.drain(sizes.count)
        for (size, delivery) in zip(sizes, deliveries) {
            #expect(delivery.body.count == size)
            #expect(delivery.body == (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) })
            #expect(delivery.properties.correlationID == "\(size)")
            #expect(delivery.headers == ["deep": ["a": [1, ["b": true]]]])
        }
    }

    @Test func aSequenceOfDeliveriesKeepsItsConsumer() async throws {
        let place = try await Place.make()
        func deliveries() throws -> RabbitConsumer.Deliveries { try place.consumer().deliveries }
        var iterator = try deliveries().makeAsyncIterator()
        try await place.send(["a"])
        let delivery = try await iterator.next()
        #expect(delivery?.text == "a")
        delivery?.acknowledge()
    }

    @Test func aStreamIsReadFromAnOffset() async throws {
        let place = try await Place.make(.stream)
        try await place.send((0..<10).map { "\($0)" })
        var configuration = RabbitConsumer.Configuration(place.broker, queue: place.queue, prefetch: 10)
        configuration.arguments = ["x-stream-offset": 4]
        let consumer = try RabbitConsumer(configuration, logger: quiet)
        var seen: [String?] = []
        for try await delivery in consumer.deliveries {
            delivery.acknowledge()
            // A stream sends whole chunks, from before the offset too.
            if let offset = delivery.headers["x-stream-offset"]?.integer, offset >= 4 { seen.append(delivery.text) }
            if seen.count == 6 { break }
        }
        #expect(seen == (4..<10).map { "\($0)" })
        await consumer.close()
    }
}
