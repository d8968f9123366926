import BareRabbit
import Logging
import RabbitDelivery

/// The library's side.
struct LibraryRabbit {
    private let place: Place
    private let broker: RabbitBroker

    private static let quiet = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
    private static let body = [UInt8](repeating: 0, count: 100)

    init(_ place: Place) {
        self.place = place
        broker = RabbitBroker(hosts: ["\(place.host):\(place.port)"])
    }

    func run(_ job: Job, _ queue: RabbitTopology.Queue, _ count: Int) async throws -> Sample {
        try await Sample.ofThisProcess(count) {
            switch job {
            case .one: try await publish(queue, count, tasks: 1)
            case .many: try await publish(queue, count, tasks: 1_000)
            case .batches: try await publishBatch(queue, count)
            case .consume: try await consume(queue, count)
            }
        }
    }

    /// A queue with so many messages, and nothing of what another has left in it.
    func prepare(_ queue: RabbitTopology.Queue, messages: Int) async throws {
        // It is there once something was published to it.
        try await publishBatch(queue, 1)
        let line = bare_rabbit_purge(place.host, Int32(place.port), queue.name)
        if line != 0 { throw Failure("BareRabbit.c:\(line)") }
        if messages > 0 { try await publishBatch(queue, messages) }
    }

    private func publisher(_ queue: RabbitTopology.Queue) throws -> RabbitPublisher {
        try RabbitPublisher(.init(broker, topology: .init(queues: [queue])), logger: Self.quiet)
    }

    private func publish(_ queue: RabbitTopology.Queue, _ count: Int, tasks: Int) async throws {
        let publisher = try publisher(queue)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<tasks {
                group.addTask {
                    for _ in 0..<(count / tasks + (task < count % tasks ? 1 : 0)) {
                        try await publisher.send(RabbitMessage(queue: queue.name, body: Self.body))
                    }
                }
            }
            try await group.waitForAll()
        }
        await publisher.close()
    }

    private func publishBatch(_ queue: RabbitTopology.Queue, _ count: Int) async throws {
        let publisher = try publisher(queue)
        let message = RabbitMessage(queue: queue.name, body: Self.body)
        for result in await publisher.send(contentsOf: repeatElement(message, count: count)) { _ = try result.get() }
        await publisher.close()
    }

    private func consume(_ queue: RabbitTopology.Queue, _ count: Int) async throws {
        let consumer = try RabbitConsumer(.init(broker, queue: queue.name, prefetch: 1_000), logger: Self.quiet)
        var received = 0
        for try await delivery in consumer.deliveries {
            delivery.acknowledge()
            received += 1
            if received == count { break }
        }
        await consumer.close()
    }
}
