import Foundation
import RabbitDelivery
import Synchronization

/// A listener that fails, three attempts, a dead letter, its listener, and a redrive.
@main
enum DeadLetters {
    struct Order: Codable {
        let number: Int
        let card: String
    }

    struct CardDeclined: Error, CustomStringConvertible {
        let card: String
        var description: String { "card \(card) is declined" }
    }

    /// What the world outside is like: cards that do not work now.
    final class Bank: Sendable {
        private let declined = Mutex<Set<String>>(["expired"])

        func charge(_ order: Order) throws {
            if declined.withLock({ $0.contains(order.card) }) { throw CardDeclined(card: order.card) }
        }

        func accept(_ card: String) { declined.withLock { _ = $0.remove(card) } }
    }

    static let topology = RabbitTopology(
        exchanges: [.init("example-orders", .topic), .init("example-dead", .fanout)],
        queues: [.init("example-billing"), .init("example-dead-letters")],
        bindings: [
            .init(queue: "example-billing", to: "example-orders", routingKey: "new.#"),
            .init(queue: "example-dead-letters", to: "example-dead"),
        ]
    )

    static func main() async {
        do {
            try await run()
        } catch {
            FileHandle.standardError.write(Data("DeadLetters: \(error)\n".utf8))
            exit(EXIT_FAILURE)
        }
    }

    static func run() async throws {
        let broker = try RabbitBroker(uri: ProcessInfo.processInfo.environment["RABBITMQ_URL"] ?? "amqp://localhost")
        let bank = Bank()
        var configuration = RabbitPublisher.Configuration(broker, topology: topology)
        // A service waits longer for its broker; a person who has none running wants to know.
        configuration.confirmTimeout = .seconds(10)
        try await withRabbitPublisher(configuration) { publisher in
            for order in [
                Order(number: 1, card: "good"), Order(number: 2, card: "expired"), Order(number: 3, card: "good"),
            ] {
                try await publisher.send(
                    RabbitMessage(exchange: "example-orders", routingKey: "new.fruit", value: order)
                )
                print("order \(order.number) is confirmed by the broker")
            }
            try await bill(3, broker, publisher, bank)
            try await listenToDeadLetters(1, broker)

            bank.accept("expired")
            print("the card works again")
            let summary = try await RabbitRedrive(.init(broker, queue: "example-dead-letters")).run(through: publisher)
            print("redriven: \(summary.redriven)")
            try await bill(1, broker, publisher, bank)
        }
    }

    /// The listener: handles orders until so many are finished, one way or the other.
    static func bill(_ count: Int, _ broker: RabbitBroker, _ publisher: RabbitPublisher, _ bank: Bank) async throws {
        let consumer = try RabbitConsumer(.init(broker, queue: "example-billing", topology: topology))
        let events = consumer.events
        let finished = Mutex(0)
        @Sendable func finishOne() {
            let isLast = finished.withLock { finished in
                finished += 1
                return finished == count
            }
            if isLast { Task { await consumer.close() } }
        }
        let watching = Task {
            for await event in events {
                if case .deadLettered = event {
                    print("given up: its dead letter is confirmed, and the original acknowledged")
                    finishOne()
                }
            }
        }
        try await consumer.forEach(
            concurrency: .unordered(maximum: 8),
            retry: .exponential(initial: .seconds(1), maximum: .seconds(2), maximumAttempts: 3),
            deadLetters: .publish(to: "example-dead", through: publisher)
        ) { delivery in
            let order = try JSONDecoder().decode(Order.self, from: Data(delivery.body))
            do {
                try bank.charge(order)
            } catch {
                print("order \(order.number), attempt \(delivery.attempt): \(error)")
                throw error
            }
            print("order \(order.number) is charged")
            finishOne()
        }
        await consumer.close()
        await watching.value
    }

    /// The dead letters' listener: looks, and leaves them where they are.
    static func listenToDeadLetters(_ count: Int, _ broker: RabbitBroker) async throws {
        let summary = try await RabbitRedrive(.init(broker, queue: "example-dead-letters")).preview { letter, _ in
            guard let facts = letter.deadLetter else { return }
            print(
                "dead letter from queue \(facts.queue ?? "?"), key \(facts.routingKey ?? "?"), after \(facts.attempts ?? 0)",
                "attempts: \(facts.error ?? "")"
            )
        }
        print("dead letters: \(summary.redriven)")
    }
}
