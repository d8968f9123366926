import Logging
import OutboxDelivery
import OutboxPostgres
import OutboxRabbit
import OutboxTesting
import RabbitDelivery
import RabbitDeliveryTesting
import Testing

/// From the commit in PostgreSQL to the queue, with a publisher in between and a broker that is killed.
@Suite(.timeLimit(.minutes(5))) struct RabbitOutboxTests {
    @Test func killedInTheMiddleTheBrokerHasEveryCommittedEventAndEachKeyInItsOrder() async throws {
        let database = try await PostgresServer.start()
        let server = try await RabbitServer.start()
        let broker = server.broker
        let queue = server.unique("orders")
        let topology = RabbitTopology(queues: [.init(queue)])
        let outbox = try PostgresOutbox(.init(LibpqSettings(database.url)))
        try await outbox.migrate()
        let destination = try RabbitOutboxDestination(.init(broker, topology: topology), logger: quiet)
        var settings = OutboxPublisher.Configuration()
        settings.retry.delay = .milliseconds(5)
        let publisher = OutboxPublisher(
            store: outbox,
            destinations: ["rabbit": destination],
            configuration: settings,
            logger: quiet
        )
        let publishing = Task { try await publisher.run() }
        let writer = try await LibpqConnection.open(LibpqSettings(database.url))
        let (keys, each) = (20, 30)
        var killing: Task<Void, any Error>?
        for number in 0..<each {
            for key in 0..<keys {
                let message = OutboxMessage(destination: "rabbit", topic: queue, key: "k\(key)", payload: "\(number)")
                try await writer.query(try outbox.table.insert(message))
            }
            if number == each / 3 {
                // Once something is confirmed, which is deleted then, the queue is declared.
                while try await outbox.status().backlog > number * keys { try await Task.sleep(for: .milliseconds(2)) }
                try await server.storeDeclarations()
                // What is under way has no outcome, and comes again with its key; events are written all the while.
                killing = Task {
                    try server.kill()
                    try await server.restart()
                }
            }
        }
        try await killing?.value
        let consumer = try RabbitConsumer(.init(broker, queue: queue, topology: topology), logger: quiet)
        var stored: Set<String> = []
        var seen: [String: [Int]] = [:]
        for try await delivery in consumer.deliveries {
            delivery.acknowledge()
            #expect(delivery.properties.messageID == delivery.headers["idempotency-key"]?.string)
            // A repetition, by the idempotency key, changes nothing; what is left has no gap and is in order.
            if stored.insert(delivery.properties.messageID ?? "").inserted {
                seen[delivery.headers["outbox-key"]?.string ?? "", default: []].append(Int(delivery.text ?? "") ?? -1)
            }
            if stored.count == keys * each { break }
        }
        for key in 0..<keys { #expect(seen["k\(key)"] == Array(0..<each)) }
        await consumer.close()
        // Confirmed is deleted: nothing is left, and nothing is parked.
        while try await outbox.status().backlog > 0 { try await Task.sleep(for: .milliseconds(2)) }
        #expect(try await outbox.status().parkedCount == 0)
        await publisher.close(within: .seconds(10))
        try await publishing.value
        await destination.close()
        await writer.close()
        await outbox.close()
        await database.shutdown()
    }
}
