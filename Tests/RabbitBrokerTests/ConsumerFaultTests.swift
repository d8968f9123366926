import Logging
import RabbitDelivery
import RabbitDeliveryTesting
import Synchronization
import Testing

extension FaultTests {
    @Test func verdictsOfAnOldGenerationChangeNothingAndTheLoopGoesOn() async throws {
        let place = try await Place.make(on: try await Self.server())
        try await place.send(["a", "b"])
        let consumer = try place.consumer(prefetch: 1)
        var iterator = consumer.deliveries.makeAsyncIterator()
        let old = try #require(try await iterator.next())
        let events = consumer.events
        try await place.server.closeConnections(of: place.broker.virtualHost)
        for await event in events { if case .connected(_, generation: 2) = event { break } }
        let new = try #require(try await iterator.next())
        #expect(new.text == "a" && new.isRedelivered && new.generation == 2)
        // The same number on another channel: were the broker told, it would take it for this one.
        old.acknowledge()
        old.negativelyAcknowledge()
        new.requeue()
        let again = try #require(try await iterator.next())
        #expect(again.text == "a")
        again.acknowledge()
        try await iterator.next()?.acknowledge()
        let summary = await consumer.close()
        #expect(summary.lateVerdicts == 1)
        #expect(try await place.messageCount() == 0)
    }

    private static func delete(_ queue: String, of place: Place) async throws {
        _ = try await place.server.evaluate(
            "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"\(place.broker.virtualHost)\">>, queue, <<\"\(queue)\">>)),"
                + " rabbit_amqqueue:delete(Q, false, false, <<\"test\">>), ok."
        )
    }

    @Test func aQueueThatIsDeletedEndsTheLoopOfAConsumerThatDoesNotDeclareIt() async throws {
        let place = try await Place.make(on: try await Self.server())
        try await place.send(["a", "b"])
        var bare = place
        bare.topology = .init()
        let consumer = try bare.consumer()
        var iterator = consumer.deliveries.makeAsyncIterator()
        for _ in 0..<2 { try await iterator.next()?.acknowledge() }
        try await Self.delete(place.queue, of: place)
        let error = await #expect(throws: RabbitError.self) { _ = try await iterator.next() }
        #expect(error?.kind == .notFound)
        #expect(error?.reason.contains(place.queue) == true)
        await consumer.close()
    }

    @Test func aDeletedQueueIsDeclaredAgainByAConsumerThatDeclaresIt() async throws {
        let place = try await Place.make(on: try await Self.server())
        let declaring = try place.consumer()
        try await place.send(["a", "b"])
        var first = declaring.deliveries.makeAsyncIterator()
        try await first.next()?.acknowledge()
        let events = declaring.events
        try await Self.delete(place.queue, of: place)
        for await event in events {
            if case .disconnected(let error) = event {
                #expect(error.kind == .consumerCancelled)
                break
            }
        }
        try await place.send(["after"])
        while let delivery = try await first.next() {
            delivery.acknowledge()
            if delivery.text == "after" { break }
        }
        await declaring.close()
    }

    @Test func consumersGoOnUnderAnAlarmAndAFrozenBrokerHoldsUpNoClose() async throws {
        let server = try await Self.server()
        let place = try await Place.make(on: server)
        try await place.send((0..<20).map { "\($0)" })
        try await server.setMemoryAlarm(true)
        let consumer = try place.consumer(prefetch: 5)
        var iterator = consumer.deliveries.makeAsyncIterator()
        for _ in 0..<19 { try await iterator.next()?.acknowledge() }
        let last = try await iterator.next()
        try await server.setMemoryAlarm(false)
        try await server.freeze()
        last?.acknowledge()
        let began = ContinuousClock.now
        let summary = await consumer.close(within: .milliseconds(300))
        let took = ContinuousClock.now - began
        try server.thaw()
        // Two heartbeats would be 40 s.
        #expect(took < .seconds(20))
        #expect(!summary.acknowledgementsReachedBroker)
    }

    @Test func aThousandReconnectsLoseNothingAndMemoryStaysFlat() async throws {
        let server = try await Self.server()
        var place = try await Place.make(on: server)
        place.broker.minimumReconnectDelay = .milliseconds(1)
        place.broker.maximumReconnectDelay = .milliseconds(2)
        let relay = try LoopbackRelay(
            to: try #require(place.broker.hosts[0].split(separator: ":").last.flatMap { Int($0) })
        )
        let hosts = place.broker.hosts
        place.broker.hosts = ["127.0.0.1:\(relay.port)"]
        let publisher = try place.publisher()
        let events = publisher.events
        // What the process has after each hundred. Other tests run beside this one, and take memory now and then; a leak takes it in
        // each hundred.
        var memory: [Int] = []
        var generation = 0
        for await event in events {
            guard case .connected(_, let number) = event else { continue }
            generation = number
            if number >= 200, number % 100 == 0 { memory.append(Memory.resident) }
            if number >= 1_000 { break }
            relay.cut()
        }
        #expect(generation == 1_000)
        // Pools and buffers of the first connections are there; nothing is added with each: half of the hundreds took less than 10 KiB
        // a connection.
        let growth = zip(memory.dropFirst(), memory).map { $0 - $1 }.sorted()
        #expect(growth[growth.count / 2] < 1 << 20 || Memory.keepsWhatIsFreed, "\(growth)")
        try await publisher.send(RabbitMessage(queue: place.queue, body: "after"))
        await publisher.close()
        relay.stop()
        place.broker.hosts = hosts
        #expect(try await place.messageCount() == 1)
    }
}

/// What a history of random publishers and consumers has to keep, whatever is done to the connections and the broker.
@Suite(.timeLimit(.minutes(5))) struct HistoryTests {
    @Test func noConfirmedMessageIsLostAndNothingAcknowledgedComesAgainAfterACleanEnd() async throws {
        let seed = UInt64.random(in: .min ... .max)
        let server = try await RabbitServer.start()
        var place = try await Place.make(on: server)
        let dead = place.queue + "-dead"
        place.topology.queues.append(.init(dead))
        let publishers = try (0..<3).map { _ in try place.publisher() }
        let letters = try place.publisher()
        let record = Record()
        let (queue, broker) = (place.queue, place.broker)

        let consumers = try (0..<2).map { _ in try place.consumer(prefetch: 20) }
        let handling = consumers.map { consumer in
            Task {
                try await consumer.forEach(
                    concurrency: .unordered(maximum: 8),
                    retry: .fixed(.milliseconds(5), maximumAttempts: 2),
                    deadLetters: .publish(to: "", routingKey: dead, through: letters)
                ) { delivery in
                    let text = delivery.text ?? ""
                    if text.hasSuffix("7") { throw Broken() }
                    record.handled.withLock { _ = $0.insert(text) }
                }
            }
        }
        for publisher in publishers { try await publisher.waitUntilConnected(within: .seconds(60)) }
        try await server.storeDeclarations()
        await withTaskGroup(of: Void.self) { group in
            for (index, publisher) in publishers.enumerated() {
                group.addTask {
                    for round in 0..<30 {
                        let bodies = (0..<20).map { "\(index)-\(round)-\($0)" }
                        let results = await publisher.send(
                            contentsOf: bodies.map { RabbitMessage(queue: queue, body: $0) }
                        )
                        for (body, result) in zip(bodies, results) where (try? result.get()) != nil {
                            record.confirmed.withLock { _ = $0.insert(body) }
                        }
                    }
                }
            }
            group.addTask {
                var generator = SeededNumbers(state: seed)
                for _ in 0..<4 {
                    do {
                        if generator.next() % 4 == 0 {
                            try server.kill()
                            try await server.restart()
                        } else {
                            try await server.closeConnections(of: broker.virtualHost)
                            _ = try await server.connectionCount(of: broker.virtualHost)
                        }
                    } catch {
                        Issue.record("seed \(seed): \(error)")
                    }
                }
            }
        }
        for publisher in publishers { await publisher.close() }
        // Everything confirmed is handled, or a dead letter with its origin.
        let wanted = record.confirmed.withLock { $0 }
        let failing = wanted.filter { $0.hasSuffix("7") }
        let good = wanted.subtracting(failing)
        // Nothing is ready or unacknowledged: all that was stored has its outcome.
        let count =
            "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"\(broker.virtualHost)\">>, queue, <<\"\(queue)\">>)),"
            + " [{messages, N}] = rabbit_amqqueue:info(Q, [messages]), {count, N}."
        while try await server.evaluate(count).filter({ !$0.isWhitespace }).contains("{count,0}") == false {}
        #expect(record.handled.withLock { $0.isSuperset(of: good) }, "seed \(seed)")
        var found: Set<String> = []
        var look = RabbitRedrive.Configuration(broker, queue: dead)
        // No other consumer takes letters: only a broker that is slow would end it.
        look.maximumWait = .seconds(60)
        _ = try await RabbitRedrive(look, logger: quiet).preview { letter, _ in
            found.insert(letter.text ?? "")
            #expect(letter.deadLetter?.queue == queue, "seed \(seed)")
        }
        #expect(found.isSuperset(of: failing), "seed \(seed)")
        // The end is in order where there is a connection, and what came again after the last fault is handled.
        for consumer in consumers { try await consumer.waitUntilConnected(within: .seconds(60)) }
        for consumer in consumers {
            let summary = await consumer.close()
            #expect(summary.acknowledgementsReachedBroker, "seed \(seed)")
        }
        for task in handling { try await task.value }
        await letters.close()
        #expect(try await place.messageCount() == 0, "seed \(seed)")
    }
}

/// What a run has seen.
private final class Record: Sendable {
    let confirmed = Mutex<Set<String>>([])
    let handled = Mutex<Set<String>>([])
}

/// Numbers that follow from a seed, for a run to be repeated (xorshift).
private struct SeededNumbers {
    var state: UInt64

    mutating func next() -> UInt64 {
        state |= 1
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}
