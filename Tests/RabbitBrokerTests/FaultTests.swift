import DeliveryCore
import Foundation
import Logging
import RabbitDelivery
import RabbitDeliveryTesting
import Testing

/// What harms a broker needs one of its own; one at a time, for they harm the same.
@Suite(.serialized, .timeLimit(.minutes(5))) struct FaultTests {
    private static let own = OwnServer()

    private actor OwnServer {
        private var starting: Task<RabbitServer, any Error>?

        func server() async throws -> RabbitServer {
            if starting == nil {
                starting = Task {
                    var options = RabbitServer.Options()
                    options.hasTLS = true
                    return try await RabbitServer.start(options)
                }
            }
            guard let starting else { throw CancellationError() }
            return try await starting.value
        }
    }

    static func server() async throws -> RabbitServer { try await own.server() }

    @Test func underAnAlarmSendersWaitDeadlinesHoldCloseIsBoundedAndSendingResumes() async throws {
        let server = try await Self.server()
        let queue = server.unique("orders")
        var configuration = RabbitPublisher.Configuration(
            try await server.makeBroker(),
            topology: .init(queues: [.init(queue)])
        )
        let patient = try RabbitPublisher(configuration, logger: quiet)
        configuration.confirmTimeout = .milliseconds(700)
        let hasty = try RabbitPublisher(configuration, logger: quiet)
        // Its deadline is for what it sends under the alarm, and not for connecting.
        try await hasty.waitUntilConnected(within: .seconds(60))
        try await patient.send(RabbitMessage(queue: queue, body: "before"))

        try await server.setMemoryAlarm(true)
        let events = patient.events
        let waiting = try await patient.enqueue(RabbitMessage(queue: queue, body: "during"))
        // The broker tells a connection that it is blocked when it publishes.
        for await event in events { if case .blocked = event { break } }
        let began = ContinuousClock.now
        await withTaskGroup(of: RabbitError?.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    do {
                        try await hasty.send(RabbitMessage(queue: queue, body: "too long"))
                        return nil
                    } catch { return error as? RabbitError }
                }
            }
            for await error in group { #expect(error?.kind == .timedOut) }
        }
        let sending = ContinuousClock.now - began
        let closing = ContinuousClock.now
        await hasty.close(within: .milliseconds(100))
        let closed = ContinuousClock.now - closing
        try await server.setMemoryAlarm(false)
        // Without a deadline of their own they would take the alarm's time: for ever.
        #expect(sending < .seconds(20))
        #expect(closed < .seconds(20))
        _ = try await waiting.confirmation
        try await patient.send(RabbitMessage(queue: queue, body: "after"))
        await patient.close()
    }

    @Test func aFrozenBrokerIsNoticedWithinTwoHeartbeatsAlsoInAHalfWrittenFrame() async throws {
        let server = try await Self.server()
        var broker = try await server.makeBroker()
        // Not one second: on a busy machine a broker that is well may be silent for two.
        broker.heartbeat = .seconds(2)
        let queue = server.unique("orders")
        let publisher = try RabbitPublisher(.init(broker, topology: .init(queues: [.init(queue)])), logger: quiet)
        try await publisher.send(RabbitMessage(queue: queue, body: "before"))
        try await server.freeze()
        // More than the sockets hold: the last frame is written in part.
        let large = try await publisher.enqueue(
            RabbitMessage(queue: queue, body: [UInt8](repeating: 7, count: 30 << 20))
        )
        let began = ContinuousClock.now
        let error = await #expect(throws: RabbitError.self) { try await large.confirmation }
        let took = ContinuousClock.now - began
        try server.thaw()
        // By the heartbeats, and not by the deadline of a minute.
        #expect(took < .seconds(30))
        #expect(error?.kind == .connectionLost)
        #expect(error?.persistence == .possiblyPersisted)
        try await publisher.send(RabbitMessage(queue: queue, body: "after"))
        await publisher.close()
    }

    @Test func aForcedCloseFailsWhatIsUnderWayAndThePublisherComesBack() async throws {
        let server = try await Self.server()
        let broker = try await server.makeBroker()
        let queue = server.unique("orders")
        let publisher = try RabbitPublisher(.init(broker, topology: .init(queues: [.init(queue)])), logger: quiet)
        try await publisher.send(RabbitMessage(queue: queue, body: "before"))
        let events = publisher.events
        try await server.closeConnections(of: broker.virtualHost)
        for await event in events {
            if case .disconnected(let error) = event {
                #expect(error.code == 320)
                break
            }
        }
        let confirmation = try await publisher.send(RabbitMessage(queue: queue, body: "after"))
        #expect(confirmation.generation == 2)
        await publisher.close()
    }

    @Test func aKilledBrokerLosesNothingConfirmedAndTheTopologyIsDeclaredAgain() async throws {
        let server = try await Self.server()
        let queue = server.unique("orders")
        var configuration = RabbitPublisher.Configuration(
            server.broker,
            topology: .init(queues: [.init(queue)])
        )
        configuration.confirmTimeout = .seconds(120)
        let publisher = try RabbitPublisher(configuration, logger: quiet)
        try await publisher.send(RabbitMessage(queue: queue, body: "first"))
        let sending = Task {
            var confirmed = 1
            for round in 0..<200 {
                for result in await publisher.send(
                    contentsOf: (0..<50).map { RabbitMessage(queue: queue, body: "\(round) \($0)") }
                ) {
                    switch result {
                    case .success: confirmed += 1
                    case .failure(let error): #expect(error.recovery == .retry)
                    }
                }
                if Task.isCancelled { break }
            }
            return confirmed
        }
        try await server.storeDeclarations()
        try server.kill()
        try await server.restart()
        sending.cancel()
        let confirmed = await sending.value
        try await publisher.send(RabbitMessage(queue: queue, body: "last"))
        await publisher.close()
        // Asked of the broker, not of the code under test.
        let answer = try await server.evaluate(
            "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"\(queue)\">>)),"
                + " [{messages, N}] = rabbit_amqqueue:info(Q, [messages]), N."
        )
        let stored = Int(answer.filter(\.isNumber)) ?? 0
        #expect(stored >= confirmed + 1)
    }

    @Test(arguments: ["localhost", "127.0.0.1"])
    func theCertificateIsCheckedForNamesAndAddressesAndSaysWhoTheClientIs(_ host: String) async throws {
        let server = try await Self.server()
        let queue = server.unique("orders")
        let topology = RabbitTopology(queues: [.init(queue)])
        var broker = try server.encrypted(try await server.makeBroker(), host: host)
        let publisher = try RabbitPublisher(.init(broker, topology: topology), logger: quiet)
        // More than one record, both ways of a write.
        try await publisher.send(RabbitMessage(queue: queue, body: [UInt8](repeating: 1, count: 3 << 20)))
        await publisher.close()

        broker.tls?.clientCertificate = try server.path("client.pem")
        broker.tls?.clientKey = try server.path("client.key")
        broker.credentials = .external
        let known = try RabbitPublisher(.init(broker, topology: topology), logger: quiet)
        try await known.send(RabbitMessage(queue: queue, body: "I am guest"))
        await known.close()

        var wrong = broker
        wrong.tls?.serverName = "elsewhere"
        var untrusted = broker
        untrusted.tls?.certificateAuthority = try server.path("other-ca.pem")
        for broker in [wrong, untrusted] {
            let publisher = try RabbitPublisher(.init(broker, topology: topology), logger: quiet)
            let error = await #expect(throws: RabbitError.self) {
                try await publisher.send(RabbitMessage(queue: queue, body: ""))
            }
            #expect(error?.kind == .certificate)
            #expect(error?.persistence == .notPersisted)
            await publisher.close()
        }
        broker.tls?.certificateAuthority = "/no/such/file.pem"
        let error = #expect(throws: RabbitError.self) { _ = try RabbitPublisher(.init(broker), logger: quiet) }
        #expect(error?.kind == .invalidConfiguration)
        let other = #expect(throws: RabbitError.self) {
            _ = try RabbitConsumer(.init(broker, queue: queue), logger: quiet)
        }
        #expect(other?.kind == .invalidConfiguration)
    }

    @Test func aConsumerWhoseCertificatesAreGoneWhenItStartsThrowsFromEachLoopAndCloses() async throws {
        let server = try await Self.server()
        let copy = FileManager.default.temporaryDirectory.appending(path: "\(UUID()).pem")
        try FileManager.default.copyItem(atPath: server.path("ca.pem"), toPath: copy.path)
        var broker = try server.encrypted(try await server.makeBroker())
        broker.tls?.certificateAuthority = copy.path
        let consumer = try RabbitConsumer(.init(broker, queue: "any"), logger: quiet)
        try FileManager.default.removeItem(at: copy)
        for _ in 0..<2 {
            let error = await #expect(throws: RabbitError.self) { for try await _ in consumer.deliveries {} }
            #expect(error?.kind == .invalidConfiguration)
        }
        await #expect(throws: RabbitError.self) { try await consumer.waitUntilConnected() }
        let summary = await consumer.close()
        #expect(summary.unsettled == 0)
    }
}
