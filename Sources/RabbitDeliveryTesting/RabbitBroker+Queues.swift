internal import Logging
package import RabbitDelivery

/// What is in queues, for tests of what sends to them.
extension RabbitBroker {
    /// How many messages a queue holds, as a look at it with a connection of its own says.
    package func messageCount(of queue: String) async throws -> Int {
        let logger = Logger(label: "RabbitBroker") { _ in SwiftLogNoOpLogHandler() }
        let redrive = RabbitRedrive(.init(self, queue: queue), logger: logger)
        while true {
            let summary = try await redrive.preview { _, _ in }
            // Another consumer took some of those that had been counted.
            if !summary.isPartial { return summary.redriven + summary.left }
        }
    }
}

extension RabbitConsumer {
    /// Takes so many messages, acknowledges each, and closes the consumer.
    package func takeAndClose(_ count: Int) async throws -> [Delivery] {
        var taken: [Delivery] = []
        for try await delivery in deliveries {
            delivery.acknowledge()
            taken.append(delivery)
            if taken.count == count { break }
        }
        await close()
        return taken
    }
}
