/// Where messages go that are given up.
public struct RabbitDeadLetters: Sendable {
    enum Way: Sendable {
        case publish(exchange: String, routingKey: String?, RabbitPublisher)
        case reject
    }

    let way: Way

    /// Published by us: mandatory and confirmed, and only then is the original acknowledged. What no queue is bound for, and what cannot
    /// be confirmed, is tried again after a while, and said (``RabbitEvent/deadLetterFailed(_:)``): nothing is ever lost in silence.
    ///
    /// The letter is the message, with the error, the number of attempts and its origin in headers; exchange, routing key and error
    /// have the names that Spring AMQP gives them (`x-original-exchange`, `x-original-routingKey`, `x-exception-message`).
    ///
    /// - Parameters:
    ///   - exchange: Where to; empty for the queue that `routingKey` names.
    ///   - routingKey: With which key; nil for the message's own.
    ///   - publisher: Who sends them: a connection of its own, for one that both receives and publishes gets nothing while the
    ///     broker blocks it.
    public static func publish(
        to exchange: String,
        routingKey: String? = nil,
        through publisher: RabbitPublisher
    ) -> RabbitDeadLetters {
        RabbitDeadLetters(way: .publish(exchange: exchange, routingKey: routingKey, publisher))
    }

    /// Rejected, for the broker to send to the queue's dead-letter exchange.
    ///
    /// The broker loses a message without a word where the queue has no such exchange, where that does not exist, or routes it
    /// nowhere. So `forEach` refuses to begin unless the consumer's ``RabbitTopology`` declares the queue with a dead-letter
    /// exchange that it declares and binds as well, and so checks with the broker at each connection: a passive topology, which sees names
    /// alone, will not do. Whether the binding is for the key that a message has is not looked at. The error and the number of attempts
    /// are not in the letter.
    ///
    /// The broker moves the letter without a confirmation, also from a quorum queue unless that has `x-dead-letter-strategy=at-least-once`:
    /// one for a queue that is full and refuses, or whose node is killed in between, is lost. ``publish(to:routingKey:through:)`` loses none.
    public static let reject = RabbitDeadLetters(way: .reject)
}

extension RabbitTopology {
    /// Why what is rejected by a queue's consumer may be lost; nil where its way is declared.
    func rejectionFault(of name: String) -> RabbitError? {
        guard !isPassive else {
            return .invalidConfiguration(
                "the topology is passive, and does not see where queue \(name) sends what is rejected"
            )
        }
        guard let queue = queues.first(where: { $0.name == name }) else {
            return .invalidConfiguration(
                "the topology does not declare queue \(name), and so not where it sends what is rejected"
            )
        }
        let arguments = queue.allArguments
        guard let exchange = arguments["x-dead-letter-exchange"]?.string else {
            return .invalidConfiguration("queue \(name) has no dead-letter exchange: what is rejected would be lost")
        }
        let key = arguments["x-dead-letter-routing-key"]?.string
        if exchange.isEmpty {
            // The default exchange: the key names a queue.
            guard let key, queues.contains(where: { $0.name == key }) else {
                return .invalidConfiguration(
                    "queue \(name) sends what is rejected to no queue that the topology declares"
                )
            }
            return nil
        }
        guard exchanges.contains(where: { $0.name == exchange }) else {
            return .invalidConfiguration(
                "the topology does not declare \(exchange), the dead-letter exchange of queue \(name)"
            )
        }
        guard bindings.contains(where: { $0.exchange == exchange }) else {
            return .invalidConfiguration("nothing is bound to \(exchange), the dead-letter exchange of queue \(name)")
        }
        return nil
    }
}
