import DeliveryCore
import Logging
import RabbitDelivery
import RabbitDeliveryTesting
import Testing

/// A logger that says nothing: what goes wrong here is meant to.
let quiet = Logger(label: "RabbitBrokerTests") { _ in SwiftLogNoOpLogHandler() }

@Suite(.timeLimit(.minutes(5))) struct ConnectionTests {
    @Test func aSendIsConfirmedAndTheTopologyDeclaredBefore() async throws {
        let server = try await RabbitServer.shared()
        let queue = server.unique("orders")
        let publisher = try RabbitPublisher(
            .init(try await server.makeBroker(), topology: .init(queues: [.init(queue)])),
            logger: quiet
        )
        let confirmation = try await publisher.send(RabbitMessage(queue: queue, body: "three apples"))
        #expect(confirmation == RabbitConfirmation(generation: 1, sequenceNumber: 1))
        #expect(await publisher.close() == .init())
    }

    @Test func aRefusedLoginSurfacesAndIsNotTriedAgain() async throws {
        let server = try await RabbitServer.shared()
        var broker = try await server.makeBroker()
        broker.credentials = .plain(userName: "guest", password: "wr0ng")
        let publisher = try RabbitPublisher(.init(broker), logger: quiet)
        let events = publisher.events
        let error = await #expect(throws: RabbitError.self) {
            try await publisher.send(RabbitMessage(queue: "any", body: ""))
        }
        #expect(error?.kind == .authentication)
        #expect(error?.persistence == .notPersisted)
        #expect(error?.recovery == .fixRequest)
        #expect(error?.description.contains("wr0ng") == false)
        // The events end: there will be no other attempt.
        for await event in events {
            if case .connected = event { Issue.record("connected") }
        }
        await publisher.close()
    }

    @Test func aVirtualHostThatDoesNotExistIsSaidSo() async throws {
        let server = try await RabbitServer.shared()
        var broker = server.broker
        broker.virtualHost = server.unique("nowhere")
        let publisher = try RabbitPublisher(.init(broker), logger: quiet)
        let error = await #expect(throws: RabbitError.self) {
            try await publisher.send(RabbitMessage(queue: "any", body: ""))
        }
        #expect(error?.recovery == .fixRequest)
        #expect(error?.code == 530)
        await publisher.close()
    }

    @Test func everyMechanismLogsInAndAmongHostsOneThatAnswersIsFound() async throws {
        let server = try await RabbitServer.shared()
        var broker = try await server.makeBroker()
        let hosts = broker.hosts
        broker.hosts = ["127.0.0.1:1", "nowhere.invalid"] + hosts
        for credentials in [RabbitCredentials.guest, .amqplain(userName: "guest", password: "guest")] {
            broker.credentials = credentials
            let queue = server.unique("any")
            let publisher = try RabbitPublisher(.init(broker, topology: .init(queues: [.init(queue)])), logger: quiet)
            try await publisher.send(RabbitMessage(queue: queue, body: "text"))
            await publisher.close()
        }
    }

    @Test func aQueueThatDiffersIsAnErrorThatNamesBothValues() async throws {
        let server = try await RabbitServer.shared()
        let broker = try await server.makeBroker()
        var queue = RabbitTopology.Queue(server.unique("orders"))
        queue.maximumLength = 10
        let first = try RabbitPublisher(.init(broker, topology: .init(queues: [queue])), logger: quiet)
        try await first.send(RabbitMessage(queue: queue.name, body: ""))
        queue.maximumLength = 20
        let second = try RabbitPublisher(.init(broker, topology: .init(queues: [queue])), logger: quiet)
        let error = await #expect(throws: RabbitError.self) {
            try await second.send(RabbitMessage(queue: queue.name, body: ""))
        }
        #expect(error?.kind == .topologyMismatch)
        #expect(error?.reason.contains("20") == true && error?.reason.contains("10") == true)
        #expect(error?.reason.contains(queue.name) == true)
        await first.close()
        await second.close()
    }

    @Test func whatTheBrokerDoesNotKnowSurfacesAndIsNotDeclaredForEver() async throws {
        let server = try await RabbitServer.shared()
        let broker = try await server.makeBroker()
        var queue = RabbitTopology.Queue(server.unique("orders"))
        queue.arguments["x-message-ttl"] = "soon"
        let topologies = [
            RabbitTopology(queues: [queue]),
            RabbitTopology(exchanges: [.init(server.unique("orders"), .other("x-no-such-kind"))]),
        ]
        for topology in topologies {
            let publisher = try RabbitPublisher(.init(broker, topology: topology), logger: quiet)
            let error = await #expect(throws: RabbitError.self) {
                try await publisher.send(RabbitMessage(queue: queue.name, body: ""))
            }
            #expect(error?.kind == .topologyMismatch)
            #expect(error?.recovery == .fixRequest)
            await publisher.close()
        }
    }

    @Test func aPassiveCheckFindsWhatIsMissing() async throws {
        let server = try await RabbitServer.shared()
        let queue = server.unique("missing")
        let topology = RabbitTopology(queues: [.init(queue)], isPassive: true)
        let publisher = try RabbitPublisher(.init(try await server.makeBroker(), topology: topology), logger: quiet)
        let error = await #expect(throws: RabbitError.self) {
            try await publisher.send(RabbitMessage(queue: queue, body: ""))
        }
        #expect(error?.kind == .notFound)
        #expect(error?.reason.contains("looking for queue \(queue)") == true)
        await publisher.close()
    }

    @Test func aServerThatSpeaksSomethingElseIsNoConnectionAndSendsEndInTime() async throws {
        let peer = try LoopbackPeer(answer: "HTTP/1.1 400 Bad Request\r\n\r\n")
        var configuration = RabbitPublisher.Configuration(hosts: ["127.0.0.1:\(peer.port)"])
        configuration.confirmTimeout = .milliseconds(300)
        let publisher = try RabbitPublisher(configuration, logger: quiet)
        // The deadline says what the last attempt ended with: there has to have been one.
        for await event in publisher.events { if case .connectionFailed = event { break } }
        let error = await #expect(throws: RabbitError.self) {
            try await publisher.send(RabbitMessage(queue: "any", body: ""))
        }
        #expect(error?.kind == .timedOut)
        #expect(error?.persistence == .notPersisted)
        #expect(error?.reason.contains("does not speak AMQP") == true)
        await publisher.close()
    }

    @Test func aPeerThatSaysNothingEndsNoCloseLate() async throws {
        let peer = try LoopbackPeer(answer: "")
        let publisher = try RabbitPublisher(.init(hosts: ["127.0.0.1:\(peer.port)"]), logger: quiet)
        let pending = try await publisher.enqueue(RabbitMessage(queue: "any", body: ""))
        let summary = await publisher.close(within: .milliseconds(50))
        #expect(summary.failed == 1)
        let error = await #expect(throws: RabbitError.self) { try await pending.confirmation }
        #expect(error?.kind == .closed)
        #expect(error?.persistence == .notPersisted)
    }
}
