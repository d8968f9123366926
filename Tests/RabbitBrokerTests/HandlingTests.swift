import RabbitDelivery
import RabbitDeliveryTesting
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5))) struct HandlingTests {
    /// A topology with a place for dead letters.
    private static func place(_ kind: RabbitTopology.Queue.Kind = .classic) async throws -> (Place, dead: String) {
        var place = try await Place.make(kind)
        let dead = place.queue + "-dead"
        place.topology.exchanges = [.init(place.queue + "-dlx", .fanout), .init(place.queue + "-in", .topic)]
        place.topology.queues[0].deadLetterExchange = place.queue + "-dlx"
        place.topology.queues.append(.init(dead))
        place.topology.bindings = [
            .init(queue: dead, to: place.queue + "-dlx"),
            .init(queue: place.queue, to: place.queue + "-in", routingKey: "new.#"),
        ]
        return (place, dead)
    }

    @Test func springsExampleThreeAttemptsAtZeroOneAndTwoSecondsThenOneDeadLetter() async throws {
        let (place, dead) = try await Self.place()
        let publisher = try place.publisher()
        var message = RabbitMessage(exchange: place.queue + "-in", routingKey: "new.fruit", body: "an order")
        message.properties.expiration = .seconds(600)
        message.properties.userID = "guest"
        message.properties.headers = ["mine": 7]
        try await publisher.send(message)
        let consumer = try place.consumer()
        let events = consumer.events
        let attempts = Mutex<[ContinuousClock.Instant]>([])
        let began = ContinuousClock.now
        let loop = Task {
            try await consumer.forEach(
                concurrency: .unordered(maximum: 8),
                retry: .exponential(initial: .seconds(1), maximum: .seconds(2), maximumAttempts: 3),
                deadLetters: .publish(to: place.queue + "-dlx", through: publisher)
            ) { _ in
                attempts.withLock { $0.append(.now) }
                throw Broken()
            }
        }
        let letter = try #require(try await place.drain(1, of: dead).first)
        let times = attempts.withLock { $0.map { $0 - began } }
        #expect(times.count == 3)
        // What the policy says, exactly; and no attempt before its time.
        var delays: [Duration] = []
        for await event in events {
            if case .redelivery(_, _, let delay) = event { delays.append(delay) }
            if case .deadLettered = event { break }
        }
        #expect(delays == [.seconds(1), .seconds(2)])
        #expect(times[1] - times[0] >= .milliseconds(990))
        #expect(times[2] - times[1] >= .milliseconds(1_990))
        await consumer.close()
        try await loop.value
        #expect(letter.text == "an order")
        #expect(letter.headers["mine"] == 7)
        #expect(letter.properties.expiration == nil)
        #expect(letter.headers["x-original-exchange"]?.string == place.queue + "-in")
        let facts = try #require(letter.deadLetter)
        #expect(facts.routingKey == "new.fruit")
        #expect(facts.queue == place.queue)
        #expect(facts.attempts == 3)
        #expect(facts.error == "it is broken")
        #expect(facts.errorType == "Broken")
        // Exactly one, and the original is gone.
        #expect(try await place.messageCount(dead) == 0)
        #expect(try await place.messageCount() == 0)
        await publisher.close()
    }

    @Test func whateverASendersHeadersSayAndAnErrorAddsTheLetterFindsItsPlaceAndTheQueueGoesOn() async throws {
        struct Wordy: Error, CustomStringConvertible {
            // Twelve bytes a character.
            let description = String(repeating: "क्षि", count: 2_000)
        }
        let (place, dead) = try await Self.place()
        let publisher = try place.publisher()
        var message = RabbitMessage(exchange: place.queue + "-in", routingKey: "new.fruit", body: "an order")
        message.properties.headers = [
            // Too long for a routing key, and as many as can be counted.
            "x-original-routingKey": .string(String(repeating: "k", count: 300)), "x-attempts": .int64(.max),
            // A frame has 128 KiB, and with this no room for the error's text.
            "mine": .string(String(repeating: "m", count: 127_500)),
        ]
        try await publisher.send(message)
        try await place.send(["next"])
        let consumer = try place.consumer()
        let loop = Task {
            try await consumer.forEach(
                retry: .none,
                deadLetters: .publish(to: "", routingKey: dead, through: publisher)
            ) { delivery in
                if delivery.text == "an order" { throw Wordy() }
                Task { await consumer.close() }
            }
        }
        try await loop.value
        let letter = try #require(try await place.drain(1, of: dead).first)
        #expect(letter.text == "an order")
        #expect(letter.headers["mine"] == message.properties.headers["mine"])
        let facts = try #require(letter.deadLetter)
        #expect(facts.routingKey == "new.fruit")
        #expect(facts.attempts == .max - 1)
        #expect(facts.error == nil)
        #expect(facts.errorType == "Wordy")
        await publisher.close()
    }

    @Test func aLetterThatComesBackKeepsTheOriginalUntilThereIsAPlaceForIt() async throws {
        let (place, _) = try await Self.place()
        try await place.send(["bad"])
        let publisher = try place.publisher()
        let nowhere = place.queue + "-nowhere"
        let consumer = try place.consumer()
        let events = consumer.events
        let loop = Task {
            try await consumer.forEach(
                retry: .none,
                deadLetters: .publish(to: "", routingKey: nowhere, through: publisher)
            ) { _ in throw Broken() }
        }
        for await event in events {
            if case .deadLetterFailed(let error) = event {
                #expect(error.kind == .returned)
                break
            }
        }
        // Somebody mends the topology, and the letter arrives.
        var mended = place
        mended.topology = .init(queues: [.init(nowhere)])
        #expect(try await mended.drain(1, of: nowhere).map(\.text) == ["bad"])
        for await event in events { if case .deadLettered = event { break } }
        await consumer.close()
        try await loop.value
        #expect(try await place.messageCount() == 0)
        await publisher.close()
    }

    @Test func rejectingLetsTheBrokerStoreTheLetterAndSaysWhy() async throws {
        let (place, dead) = try await Self.place(.quorum)
        try await place.send(["bad"])
        let consumer = try place.consumer()
        let loop = Task {
            try await consumer.forEach(retry: .none, deadLetters: .reject) { _ in throw Broken() }
        }
        let letter = try #require(try await place.drain(1, of: dead).first?.deadLetter)
        #expect(letter.deaths.first?.reason == .rejected)
        #expect(letter.deaths.first?.queue == place.queue)
        await consumer.close()
        try await loop.value

        // A passive topology sees names alone.
        var unseen = place
        unseen.topology.isPassive = true
        let hopeful = try unseen.consumer()
        let refused = await #expect(throws: RabbitError.self) {
            try await hopeful.forEach(retry: .none, deadLetters: .reject) { _ in }
        }
        #expect(refused?.kind == .invalidConfiguration)
        await hopeful.close()

        var bare = place
        bare.topology = .init(queues: [.init(place.queue)])
        let careless = try bare.consumer()
        let error = await #expect(throws: RabbitError.self) {
            try await careless.forEach(retry: .none, deadLetters: .reject) { _ in }
        }
        #expect(error?.kind == .invalidConfiguration)
        await careless.close()
    }

    @Test(arguments: [RabbitTopology.Queue.Kind.classic, .quorum])
    func inARetryQueueAMessageWaitsWhileOthersGoOn(_ kind: RabbitTopology.Queue.Kind) async throws {
        let (place, dead) = try await Self.place()
        try await place.send(["bad", "good"])
        let publisher = try place.publisher()
        let consumer = try place.consumer(prefetch: 1)
        let handled = Mutex<[String]>([])
        let loop = Task {
            try await consumer.forEach(
                retry: .none,
                retryQueues: RabbitRetryQueues(
                    [.milliseconds(200), .milliseconds(300)],
                    kind: kind,
                    through: publisher
                ),
                deadLetters: .publish(to: "", routingKey: dead, through: publisher)
            ) { delivery in
                handled.withLock { $0.append(delivery.text ?? "") }
                if delivery.text == "bad" { throw Broken() }
            }
        }
        let letter = try #require(try await place.drain(1, of: dead).first?.deadLetter)
        #expect(handled.withLock { $0 } == ["bad", "good", "bad", "bad"])
        #expect(letter.attempts == 3)
        #expect(letter.queue == place.queue)
        #expect(letter.deaths.allSatisfy { $0.reason == .expired })
        await consumer.close()
        try await loop.value
        await publisher.close()
    }

    @Test func perKeyKeepsTheOrderOfEachKeyAndOthersPassAFailure() async throws {
        let place = try await Place.make()
        try await place.send(["a1", "b1", "a2", "b2", "a3", "b3"])
        let consumer = try place.consumer()
        let handled = Mutex<[String]>([])
        let loop = Task {
            try await consumer.forEach(
                concurrency: .perKey(maximum: 4) { $0.text.map { String($0.prefix(1)) } },
                retry: .fixed(.milliseconds(100), maximumAttempts: nil)
            ) { delivery in
                // It fails until all of the other key has passed it.
                if delivery.text == "a1", !handled.withLock({ $0.contains("b3") }) { throw Broken() }
                let isLast = handled.withLock { handled in
                    handled.append(delivery.text ?? "")
                    return handled.count == 6
                }
                if isLast { Task { await consumer.close() } }
            }
        }
        try await loop.value
        let order = handled.withLock { $0 }
        #expect(order.filter { $0.hasPrefix("a") } == ["a1", "a2", "a3"])
        #expect(order.filter { $0.hasPrefix("b") } == ["b1", "b2", "b3"])
    }

    @Test func perQueueAFailureHoldsBackWhatFollows() async throws {
        let place = try await Place.make()
        try await place.send(["1", "2", "3"])
        let consumer = try place.consumer()
        let handled = Mutex<[String]>([])
        try await consumer.forEach(retry: .fixed(.milliseconds(50), maximumAttempts: nil)) { delivery in
            handled.withLock { $0.append(delivery.text ?? "") }
            if delivery.text == "1", delivery.attempt < 3 { throw Broken() }
            if delivery.text == "3" { Task { await consumer.close() } }
        }
        #expect(handled.withLock { $0 } == ["1", "1", "1", "2", "3"])
    }

    @Test func withoutDeadLettersTheErrorEndsTheLoopAndTheMessageStays() async throws {
        let place = try await Place.make()
        try await place.send(["bad"])
        let consumer = try place.consumer()
        await #expect(throws: Broken.self) {
            try await consumer.forEach(retry: .none) { _ in throw Broken() }
        }
        await consumer.close()
        #expect(try await place.messageCount(atLeast: 1) == 1)
    }

    @Test func aRedriveSendsWhatIsWantedOnceAndLeavesTheRest() async throws {
        let (place, dead) = try await Self.place()
        let publisher = try place.publisher()
        for body in ["1", "2", "3"] {
            try await publisher.send(RabbitMessage(exchange: place.queue + "-in", routingKey: "new.x", body: body))
        }
        func failAll(_ count: Int) async throws {
            let consumer = try place.consumer()
            let failed = Mutex(0)
            try await consumer.forEach(
                retry: .none,
                deadLetters: .publish(to: place.queue + "-dlx", through: publisher)
            ) { _ in
                let isLast = failed.withLock { failed in
                    failed += 1
                    return failed == count
                }
                if isLast { Task { await consumer.close() } }
                throw Broken()
            }
        }
        try await failAll(3)
        var configuration = RabbitRedrive.Configuration(place.broker, queue: dead)
        configuration.isWanted = { $0.text != "2" }
        configuration.maximumRedrives = 1
        configuration.maximumPerSecond = 100
        let redrive = RabbitRedrive(configuration, logger: quiet)
        var previewed: [String] = []
        let preview = try await redrive.preview { letter, decision in
            previewed.append("\(letter.text ?? "") \(decision)")
        }
        #expect(previewed.count == 3)
        #expect(preview.redriven == 2 && preview.unwanted == 1)

        var redriven = 0
        repeat {
            // The broker puts back what a run has left a moment after its channel is closed.
            let summary = try await redrive.run(through: publisher)
            redriven += summary.redriven
            #expect(summary.left <= 1 && summary.failed.isEmpty)
        } while redriven < 2
        #expect(redriven == 2)
        #expect(try await place.messageCount(dead, atLeast: 1) == 1)
        #expect(try await place.messageCount() == 2)
        // What fails again has been round once: that is enough.
        try await failAll(2)
        var second: RabbitRedrive.Summary
        repeat {
            second = try await redrive.run(through: publisher)
            #expect(second.redriven == 0 && second.left <= 3)
        } while second.left < 3
        #expect(second.tooOften == 2 && second.unwanted == 1)
        let letters = try await place.drain(3, of: dead)
        #expect(letters.filter { $0.deadLetter?.redrives == 1 }.count == 2)
        await publisher.close()
    }
}
