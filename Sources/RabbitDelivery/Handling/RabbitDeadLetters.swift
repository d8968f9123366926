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
    /// have the names that Spring AMQP gives them (`x-original-exchange`, `x-original-routingKey`, `x-exception-message`). Where the headers
    /// do not fit into a frame the error's text is left out, and then all but the origin of what this package and the broker added; those of
    /// the application never are.
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
    /// alone, will not do. Of exchanges that route by keys a binding has to match the dead-letter routing key, or without one each key that
    /// the queue is bound with itself; what comes to the queue with other keys, and what exchanges by headers, of plugins or behind the
    /// first one do, is not looked at. Nor is a policy, which may set the exchange too: it may change. The error and the number of
    /// attempts are not in the letter.
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
        guard let target = exchanges.first(where: { $0.name == exchange }) else {
            return .invalidConfiguration(
                "the topology does not declare \(exchange), the dead-letter exchange of queue \(name)"
            )
        }
        let ways = bindings.filter { $0.exchange == exchange }
        guard !ways.isEmpty else {
            return .invalidConfiguration("nothing is bound to \(exchange), the dead-letter exchange of queue \(name)")
        }
        guard target.arguments["alternate-exchange"] == nil else { return nil }
        for key in key.map({ [$0] }) ?? ownKeys(of: name) where !ways.contains(where: { target.routes(key, by: $0) }) {
            return .invalidConfiguration(
                "nothing is bound to \(exchange), the dead-letter exchange of queue \(name), with the key \(key)"
            )
        }
        return nil
    }

    /// The keys with which messages come to a queue: those of its bindings, as far as they are no patterns; else its name, by the
    /// default exchange.
    private func ownKeys(of queue: String) -> [String] {
        let bindings = bindings.filter { $0.destination == .queue(queue) }
        guard !bindings.isEmpty else { return [queue] }
        return bindings.filter { binding in
            switch exchanges.first(where: { $0.name == binding.exchange })?.kind {
            case .direct: true
            case .topic: !binding.routingKey.contains { $0 == "*" || $0 == "#" }
            default: false
            }
        }.map(\.routingKey)
    }
}

extension RabbitTopology.Exchange {
    /// Whether a key's messages go by a binding; true where the key alone does not say.
    fileprivate func routes(_ key: String, by binding: RabbitTopology.Binding) -> Bool {
        switch kind {
        case .direct: binding.routingKey == key
        case .topic: Self.matches(Self.words(binding.routingKey), Self.words(key))
        case .fanout, .headers, .other: true
        }
    }

    private static func words(_ key: String) -> [Substring] {
        key.isEmpty ? [] : key.split(separator: ".", omittingEmptySubsequences: false)
    }

    /// A topic exchange's pattern: `*` is one word, `#` any number of them.
    private static func matches(_ pattern: [Substring], _ words: [Substring]) -> Bool {
        // Which prefixes of the words the pattern so far matches, by their lengths.
        var reached = Set([0])
        for part in pattern {
            switch part {
            case "#": if let least = reached.min() { reached = Set(least...words.count) }
            case "*": reached = Set(reached.map { $0 + 1 }.filter { $0 <= words.count })
            default: reached = Set(reached.filter { $0 < words.count && words[$0] == part }.map { $0 + 1 })
            }
        }
        return reached.contains(words.count)
    }
}
