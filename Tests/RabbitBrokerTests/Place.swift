import RabbitDelivery
import RabbitDeliveryTesting

/// A virtual host, a queue in it, and who sends to it.
struct Place {
    let server: RabbitServer
    var broker: RabbitBroker
    let queue: String
    var topology: RabbitTopology

    static func make(_ kind: RabbitTopology.Queue.Kind = .classic, on server: RabbitServer? = nil) async throws -> Place
    {
        var server = server
        if server == nil { server = try await RabbitServer.shared() }
        guard let server else { throw CancellationError() }
        let queue = server.unique("orders")
        return Place(
            server: server,
            broker: try await server.makeBroker(),
            queue: queue,
            topology: .init(queues: [.init(queue, kind)])
        )
    }

    func publisher() throws -> RabbitPublisher {
        try RabbitPublisher(.init(broker, topology: topology), logger: quiet)
    }

    func consumer(prefetch: Int = 250, of name: String? = nil) throws -> RabbitConsumer {
        try RabbitConsumer(
            .init(broker, queue: name ?? queue, prefetch: prefetch, topology: topology),
            logger: quiet
        )
    }

    func send(_ bodies: [String]) async throws {
        let publisher = try publisher()
        for result in await publisher.send(contentsOf: bodies.map { RabbitMessage(queue: queue, body: $0) }) {
            _ = try result.get()
        }
        await publisher.close()
    }

    /// What is in a queue, taken out of it.
    func drain(_ count: Int, of name: String? = nil) async throws -> [RabbitConsumer.Delivery] {
        try await consumer(of: name).takeAndClose(count)
    }

    func messageCount(_ name: String? = nil, atLeast minimum: Int = 0) async throws -> Int {
        try await broker.messageCount(of: name ?? queue, atLeast: minimum)
    }
}

struct Broken: Error, CustomStringConvertible {
    var description: String { "it is broken" }
}
