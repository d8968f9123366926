import DeliverySystem
import DeliveryTesting
import RabbitDelivery
import RabbitDeliveryTesting
import Synchronization
import Testing

/// The broker that tests are given.
@Suite(.timeLimit(.minutes(15))) struct RabbitServerTests {
    @Test func oneWhosePortAnotherProgramHasTakenMeanwhileIsStartedOnOthers() async throws {
        // It does not listen, and lets no other program have its port.
        let (descriptor, port) = try Loopback.bind()
        defer { _ = close(descriptor) }
        let asked = Mutex(0)
        let server = try await RabbitServer.start {
            var ports = try BrokerPorts.free()
            let isFirst = asked.withLock { asked in
                asked += 1
                return asked == 1
            }
            if isFirst { ports.plain = port }
            return ports
        }
        #expect(asked.withLock { $0 } == 2)
        let publisher = try RabbitPublisher(
            .init(server.broker, topology: .init(queues: [.init("any")])),
            logger: quiet
        )
        try await publisher.send(RabbitMessage(queue: "any", body: ""))
        await publisher.close()
    }

    @Test func aStartThatFailedIsNotKeptForTheNextWhoAsks() async throws {
        let asked = Mutex(0)
        let shared = SharedServer {
            let isFirst = asked.withLock { asked in
                asked += 1
                return asked == 1
            }
            if isFirst { throw Broken() }
            return try await RabbitServer.shared()
        }
        await #expect(throws: Broken.self) { try await shared.server() }
        let server = try await shared.server()
        #expect(try await shared.server() === server)
        #expect(asked.withLock { $0 } == 2)
    }
}
