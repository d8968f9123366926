internal import Logging
package import RabbitDelivery

/// What is in queues, for tests of what sends to them.
extension RabbitBroker {
    /// How many messages of a queue are ready, whatever their number, as a look at it with a connection of its own says.
    package func messageCount(of queue: String) async throws -> Int {
        let logger = Logger(label: "RabbitBroker") { _ in SwiftLogNoOpLogHandler() }
        let consumer = try RabbitConsumer(.init(self, queue: queue, prefetch: 1), logger: logger)
        let count: Int
        do throws(RabbitError) {
            count = try await consumer.readyCount(within: .seconds(30))
        } catch {
            await consumer.close(within: .zero)
            throw error
        }
        // The one that it was handed goes back with its channel.
        await consumer.close()
        return count
    }

    /// The same, once there are so many: what a channel leaves when it closes, the broker puts back a moment after it has confirmed that it
    /// is closed, in a quorum queue most of the time, in a classic one now and then.
    package func messageCount(of queue: String, atLeast minimum: Int) async throws -> Int {
        while true {
            let count = try await messageCount(of: queue)
            if count >= minimum { return count }
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
