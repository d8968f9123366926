import RabbitDelivery
import RabbitDeliveryTesting
import Synchronization
import Testing

/// What a redrive does beside what it is for (`HandlingTests`).
@Suite(.timeLimit(.minutes(5))) struct RedriveTests {
    /// A queue with letters that came from the place's queue.
    private static func letters(_ count: Int, _ change: (inout RabbitTopology.Queue) -> Void = { _ in }) async throws
        -> (
            place: Place, dead: String
        )
    {
        var place = try await Place.make()
        var dead = RabbitTopology.Queue(place.queue + "-dead")
        change(&dead)
        place.topology.queues.append(dead)
        let publisher = try place.publisher()
        let headers: RabbitTable = [
            "x-original-exchange": "", "x-original-routingKey": .string(place.queue),
        ]
        for number in 0..<count {
            var message = RabbitMessage(queue: dead.name, body: "\(number)")
            message.properties.headers = headers
            try await publisher.send(message)
        }
        await publisher.close()
        return (place, dead.name)
    }

    @Test func besideAConsumerThatHasTheLettersItEndsAndSaysThatItHasNotSeenAll() async throws {
        let (place, dead) = try await Self.letters(3) { $0.hasSingleActiveConsumer = true }
        let other = try place.consumer(prefetch: 1, of: dead)
        var iterator = other.deliveries.makeAsyncIterator()
        let held = try await iterator.next()
        var configuration = RabbitRedrive.Configuration(place.broker, queue: dead)
        configuration.maximumWait = .milliseconds(200)
        let summary = try await RabbitRedrive(configuration, logger: quiet).preview { _, _ in }
        #expect(summary.isPartial)
        #expect(summary.redriven == 0)
        held?.acknowledge()
        await other.close()
    }

    @Test func oneThatIsCancelledLeavesNoLetterWhoseReplayWasSent() async throws {
        let (place, dead) = try await Self.letters(3)
        let publisher = try place.publisher()
        try await publisher.waitUntilConnected(within: .seconds(60))
        let redrive = RabbitRedrive(.init(place.broker, queue: dead), logger: quiet)
        let seen = Mutex(0)
        let run = Task {
            try await redrive.run(through: publisher) { _, _ in
                let isLast = seen.withLock { seen in
                    seen += 1
                    return seen == 3
                }
                if isLast { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }
        let summary = try await run.value
        await publisher.close()
        let sent = try await place.messageCount()
        #expect(sent >= 2)
        #expect(try await place.messageCount(dead, atLeast: 3 - sent) == 3 - sent)
        #expect(summary.redriven == sent)
    }

    @Test func oneThatIsCancelledBetweenTwoLettersSaysWhatItHasSent() async throws {
        let (place, dead) = try await Self.letters(3)
        let publisher = try place.publisher()
        var configuration = RabbitRedrive.Configuration(place.broker, queue: dead)
        // The first goes at once, and the next would in a thousand seconds.
        configuration.maximumPerSecond = 0.001
        configuration.maximumWait = .seconds(60)
        let redrive = RabbitRedrive(configuration, logger: quiet)
        let run = Task {
            try await redrive.run(through: publisher) { letter, _ in
                if letter.text == "1" { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }
        let summary = try await run.value
        #expect(summary.redriven == 1 && summary.left == 0)
        #expect(summary.isPartial && summary.acknowledgementsReachedBroker)
        #expect(try await place.messageCount(dead, atLeast: 2) == 2)
        #expect(try await place.messageCount() == 1)
        await publisher.close()
    }

    @Test func aMaximumCountsWhatIsSentAndAReplayHasNoTimeToLiveAndIsPersistent() async throws {
        let (place, dead) = try await Self.letters(3)
        let publisher = try place.publisher()
        var last = RabbitMessage(queue: dead, body: "wanted")
        last.properties.headers = ["x-original-exchange": "", "x-original-routingKey": .string(place.queue), "mine": 7]
        last.properties.expiration = .seconds(600)
        last.properties.isPersistent = false
        last.properties.correlationID = "c"
        try await publisher.send(last)
        var configuration = RabbitRedrive.Configuration(place.broker, queue: dead)
        configuration.isWanted = { $0.text == "wanted" }
        configuration.maximumLetters = 1
        configuration.maximumWait = .seconds(60)
        let summary = try await RabbitRedrive(configuration, logger: quiet).run(through: publisher)
        #expect(summary.redriven == 1 && summary.unwanted == 3 && !summary.isPartial)
        let replay = try #require(try await place.drain(1).first)
        #expect(replay.text == "wanted" && replay.properties.correlationID == "c" && replay.headers["mine"] == 7)
        #expect(replay.properties.isPersistent && replay.properties.expiration == nil)
        await publisher.close()
    }

    @Test func howOftenAQuorumQueueHasDeliveredLettersThatStayIsSaid() async throws {
        let (place, dead) = try await Self.letters(2) { $0.kind = .quorum }
        var configuration = RabbitRedrive.Configuration(place.broker, queue: dead)
        configuration.maximumWait = .seconds(60)
        let redrive = RabbitRedrive(configuration, logger: quiet)
        #expect(try await redrive.preview { _, _ in }.largestDeliveryCount ?? 0 == 0)
        var second: RabbitRedrive.Summary
        var before = 0
        repeat {
            // The broker puts them back a moment after the channel of the one before is closed.
            second = try await redrive.preview { _, _ in }
            before += 1
        } while second.redriven == 0
        #expect((1...before).contains(try #require(second.largestDeliveryCount)))
    }

    @Test func copiesAndReplaysDoNotGoWhereTheOriginalWasCopiedTo() async throws {
        var (place, dead) = try await Self.letters(0)
        let copied = place.queue + "-copied"
        place.topology.queues.append(.init(copied))
        let publisher = try place.publisher()
        var message = RabbitMessage(queue: place.queue, body: "bad")
        message.properties.headers = ["CC": [.string(copied)]]
        try await publisher.send(message)
        let consumer = try place.consumer()
        let events = consumer.events
        let loop = Task {
            try await consumer.forEach(
                retry: .none,
                deadLetters: .publish(to: "", routingKey: dead, through: publisher)
            ) { _ in throw Broken() }
        }
        for await event in events { if case .deadLettered = event { break } }
        await consumer.close()
        try await loop.value
        let summary = try await RabbitRedrive(.init(place.broker, queue: dead), logger: quiet).run(through: publisher)
        #expect(summary.redriven == 1)
        #expect(summary.acknowledgementsReachedBroker)
        #expect(try await place.messageCount(copied) == 1)
        let replay = try #require(try await place.drain(1).first)
        #expect(replay.headers["CC"] == nil && replay.headers["x-original-cc"] == nil)
        await publisher.close()
    }

    @Test func anExchangeThatIsMissingLeavesItsOwnLettersAndNoOthers() async throws {
        let (place, dead) = try await Self.letters(0)
        let publisher = try place.publisher()
        for number in 0..<20 {
            var message = RabbitMessage(queue: dead, body: "\(number)")
            message.properties.headers = [
                "x-original-exchange": number % 5 == 2 ? "gone" : "", "x-original-routingKey": .string(place.queue),
            ]
            try await publisher.send(message)
        }
        var configuration = RabbitRedrive.Configuration(place.broker, queue: dead)
        configuration.maximumWait = .seconds(60)
        let redrive = RabbitRedrive(configuration, logger: quiet)
        let summary = try await redrive.run(through: publisher)
        #expect(summary.redriven == 16 && !summary.isPartial)
        #expect(summary.failed.map(\.kind) == Array(repeating: .notFound, count: 4))
        var again: RabbitRedrive.Summary
        repeat {
            // The broker puts them back a moment after the channel of the one before is closed.
            again = try await redrive.run(through: publisher)
            #expect(again.redriven == 0 && again.failed.count <= 4)
        } while again.failed.count < 4
        await publisher.close()
        let replays = try await place.drain(16)
        #expect(replays.map(\.text) == (0..<20).filter { $0 % 5 != 2 }.map { "\($0)" })
        #expect(try await place.messageCount() == 0)
    }

    @Test func moreMessagesThanARedriveHoldsAreCounted() async throws {
        let (place, dead) = try await Self.letters(0)
        let publisher = try place.publisher()
        let many = RabbitRedrive.Configuration(place.broker, queue: dead).maximumHeld + 1
        for result in await publisher.send(contentsOf: (0..<many).map { RabbitMessage(queue: dead, body: "\($0)") }) {
            _ = try result.get()
        }
        await publisher.close()
        #expect(try await place.messageCount(dead) == many)
    }
}
