import Foundation
import Logging
import OutboxDelivery
import OutboxRabbit
import RabbitDelivery
import RabbitDeliveryTesting
import Testing

/// A logger that says nothing: what goes wrong here is meant to.
let quiet = Logger(label: "OutboxRabbitTests") { _ in SwiftLogNoOpLogHandler() }

@Suite(.timeLimit(.minutes(3))) struct RabbitDestinationTests {
    /// A virtual host with a queue, and a destination whose default exchange routes to it.
    private struct Place {
        let server: RabbitServer
        let broker: RabbitBroker
        let queue: String
        let destination: RabbitOutboxDestination

        static func make(
            nackMeaning: RabbitOutboxDestination.NackMeaning = .unavailable,
            _ change: (inout RabbitTopology, _ queue: String) -> Void = { _, _ in }
        ) async throws -> Place {
            let server = try await RabbitServer.shared()
            let broker = try await server.makeBroker()
            let queue = server.unique("orders")
            var topology = RabbitTopology(queues: [.init(queue)])
            change(&topology, queue)
            return Place(
                server: server,
                broker: broker,
                queue: queue,
                destination: try RabbitOutboxDestination(
                    .init(broker, topology: topology),
                    nackMeaning: nackMeaning,
                    logger: quiet
                )
            )
        }

        /// The bodies in the queue, read by something else than what is tested.
        func deliveries(_ count: Int) async throws -> [RabbitConsumer.Delivery] {
            let consumer = try RabbitConsumer(.init(broker, queue: queue), logger: quiet)
            var deliveries: [RabbitConsumer.Delivery] = []
            for try await delivery in consumer.deliveries {
                delivery.acknowledge()
                deliveries.append(delivery)
                if deliveries.count == count { break }
            }
            await consumer.close()
            return deliveries
        }

        /// How many the queue holds, as a look at it says.
        func messageCount() async throws -> Int {
            let summary = try await RabbitRedrive(.init(broker, queue: queue), logger: quiet).preview { _, _ in }
            return summary.redriven + summary.left
        }

        func row(_ payload: String, key: String? = nil, topic: String? = nil) -> OutboxMessage {
            OutboxMessage(destination: "rabbit", topic: topic ?? queue, key: key, payload: payload)
        }
    }

    private func events(_ messages: [OutboxMessage]) -> [OutboxEvent] {
        messages.enumerated().map { index, message in
            OutboxEvent(
                id: .init(slot: index % 32, number: Int64(index + 1)),
                createdAt: Date(timeIntervalSince1970: 1_700_000_000.123),
                message: message
            )
        }
    }

    /// An outcome's name, for comparisons.
    private func name(_ outcome: OutboxOutcome) -> String {
        switch outcome {
        case .accepted: "accepted"
        case .rejected(_, let isRetriable, _): isRetriable ? "retriable" : "rejected"
        case .unroutable: "unroutable"
        case .unknown: "unknown"
        case .unavailable: "unavailable"
        }
    }

    @Test func aRowBecomesAMessageWithItsKeysHeadersAndProperties() async throws {
        let place = try await Place.make { topology, queue in
            topology.exchanges = [.init(queue + "-in", .topic)]
            topology.bindings = [.init(queue: queue, to: queue + "-in", routingKey: "new.#")]
        }
        var row = place.row("three apples", key: "42", topic: "new.fruit")
        row.headers = [OutboxHeader("a", "✓"), OutboxHeader("b", [0xFF, 0]), OutboxHeader("c", nil)]
        row.attributes = [
            "exchange": place.queue + "-in", "content-type": "text/plain", "content-encoding": "identity", "type": "t",
            "correlation-id": "c", "reply-to": "r", "app-id": "shop", "priority": "3", "expiration": "60000",
        ]
        let outcomes = await place.destination.publish(events([row]))
        #expect(
            outcomes == [.accepted(OutboxReceipt(place: place.queue + "-in/new.fruit", position: 1))]
        )
        let delivery = try #require(try await place.deliveries(1).first)
        #expect(delivery.text == "three apples" && delivery.routingKey == "new.fruit")
        let properties = delivery.properties
        #expect(properties.isPersistent && properties.messageID == row.idempotencyKey)
        #expect(properties.contentType == "text/plain" && properties.contentEncoding == "identity")
        #expect(properties.type == "t" && properties.correlationID == "c" && properties.replyTo == "r")
        #expect(properties.appID == "shop" && properties.priority == 3 && properties.expiration == .seconds(60))
        #expect(properties.timestamp?.secondsSince1970 == 1_700_000_000)
        #expect(
            properties.headers == [
                "a": "✓", "b": .bytes([0xFF, 0]), "c": .void, "idempotency-key": .string(row.idempotencyKey),
                "outbox-event-id": "0/1", "outbox-created-at": 1_700_000_000_123, "outbox-key": "42",
            ]
        )
        await place.destination.close()
    }

    @Test func aRowThatIsNoMessageIsRejectedStopsItsKeyAndNoOther() async throws {
        let place = try await Place.make()
        var odd = place.row("2", key: "a")
        odd.attributes = ["priority": "high"]
        var long = place.row("4", key: "b")
        long.topic = String(repeating: "x", count: 300)
        let outcomes = await place.destination.publish(
            events([place.row("1", key: "a"), odd, place.row("3", key: "a"), long, place.row("5")])
        )
        #expect(outcomes.map(name) == ["accepted", "rejected", "unavailable", "rejected", "accepted"])
        #expect(outcomes[1].reason?.contains("priority") == true)
        #expect(try await place.deliveries(2).compactMap(\.text).sorted() == ["1", "5"])
        await place.destination.close()
    }

    @Test func whatNoQueueIsBoundForIsUnroutableAndWhatFollowsWithItsKeyIsNotSent() async throws {
        let place = try await Place.make()
        let rows = [
            place.row("1", key: "a"), place.row("2", key: "a", topic: "nowhere"), place.row("3", key: "a"),
            place.row("4", key: "b"),
        ]
        let outcomes = await place.destination.publish(events(rows))
        #expect(outcomes.map(name) == ["accepted", "unroutable", "unavailable", "accepted"])
        #expect(try await place.deliveries(2).compactMap(\.text).sorted() == ["1", "4"])
        #expect(try await place.messageCount() == 0)
        await place.destination.close()
    }

    // The broker closes the channel for one message, and says of all that is under way the same.
    @Test func amongManyTheOneWhoseExchangeIsMissingIsFoundAndTheOthersAreAccepted() async throws {
        let place = try await Place.make()
        var rows = (0..<100).map { place.row("\($0)", key: "k\($0 % 10)") }
        rows[0].attributes["exchange"] = "no-such"
        rows.append(place.row("last"))
        let outcomes = await place.destination.publish(events(rows))
        for (index, outcome) in outcomes.enumerated() {
            // The culprit's key waits behind it.
            let expected = index == 0 ? "unroutable" : index % 10 == 0 && index < 100 ? "unavailable" : "accepted"
            #expect(name(outcome) == expected, "\(index): \(outcome)")
        }
        #expect(outcomes[0].reason?.contains("no-such") == true)
        // Each is there, in the order of its key; what was under way may be there twice, with the same idempotency key.
        var seen: [String: [Int]] = [:]
        var stored: Set<String> = []
        for delivery in try await place.deliveries(try await place.messageCount()) {
            let isFirst = stored.insert(delivery.headers["idempotency-key"]?.string ?? "").inserted
            guard isFirst, let number = Int(delivery.text ?? "") else { continue }
            seen[delivery.headers["outbox-key"]?.string ?? "", default: []].append(number)
        }
        #expect(stored.count == 91)
        for number in 1..<10 {
            #expect(seen["k\(number)"] == Array(stride(from: number, to: 100, by: 10)))
        }
        await place.destination.close()
    }

    @Test func aUserIDThatIsAnothersIsRejectedForGood() async throws {
        let place = try await Place.make()
        let topology = RabbitTopology(queues: [.init(place.queue)])
        let destination = try RabbitOutboxDestination(.init(place.broker, topology: topology), logger: quiet) { event in
            var message = try RabbitMessage(event)
            if event.id.number == 2 { message.properties.userID = "somebody" }
            return message
        }
        let outcomes = await destination.publish(
            events([place.row("1"), place.row("2"), place.row("3")])
        )
        #expect(outcomes.map(name) == ["accepted", "rejected", "accepted"])
        await destination.close()
        await place.destination.close()
    }

    @Test func aQueueThatIsFullIsWaitedForUnlessItIsToBeAVerdict() async throws {
        for meaning in [RabbitOutboxDestination.NackMeaning.unavailable, .rejected] {
            let place = try await Place.make(nackMeaning: meaning) { topology, _ in
                topology.queues[0].maximumLength = 1
                topology.queues[0].refusesWhenFull = true
            }
            // The queue counts what is ready, which may be a moment late.
            var outcomes: [OutboxOutcome] = []
            repeat {
                outcomes = await place.destination.publish(events([place.row("x")]))
            } while outcomes.first?.isAccepted == true
            #expect(outcomes.map(name) == [meaning == .rejected ? "retriable" : "unavailable"])
            await place.destination.close()
        }
    }

    @Test func aRefusedLoginIsUnavailableAndTriedWithANewConnectionEachTime() async throws {
        let server = try await RabbitServer.shared()
        var broker = try await server.makeBroker()
        broker.credentials = .plain(userName: "guest", password: "wr0ng")
        let destination = try RabbitOutboxDestination(.init(broker), logger: quiet)
        let rows = events([OutboxMessage(destination: "rabbit", topic: "any", key: "a", payload: "1")])
        for _ in 0..<3 {
            let outcomes = await destination.publish(rows)
            #expect(outcomes.map(name) == ["unavailable"])
            #expect(outcomes.first?.reason?.contains("wr0ng") == false)
        }
        await destination.close()
    }

    @Test func aClosedDestinationSaysThatNothingWasSent() async throws {
        let place = try await Place.make()
        await place.destination.close()
        #expect(await place.destination.publish(events([place.row("1")])).map(name) == ["unavailable"])
    }

    @Test func aCancelledPublisherGetsItsOutcomesAlsoWhereTheBrokerIsAway() async throws {
        let destination = try RabbitOutboxDestination(.init(hosts: ["127.0.0.1:1"]), logger: quiet)
        let rows = events((0..<10).map { OutboxMessage(topic: "any", key: "\($0 % 3)", payload: "\($0)") })
        let publishing = Task { await destination.publish(rows) }
        publishing.cancel()
        let outcomes = await publishing.value
        #expect(outcomes.count == 10)
        // Nothing was written, so none is unknown.
        #expect(outcomes.allSatisfy { name($0) == "unavailable" })
        await destination.close(within: .zero)
    }
}
