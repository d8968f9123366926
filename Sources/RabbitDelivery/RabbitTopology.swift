/// What has to be there before messages can travel: exchanges, queues and bindings, as a value. Publishers and consumers
/// declare it on each connection, so that a broker that lost it gets it again.
///
/// ```swift
/// var topology = RabbitTopology()
/// topology.exchanges = [.init("orders", .topic)]
/// topology.queues = [.init("billing", .quorum, deadLetterExchange: "orders-dlx")]
/// topology.bindings = [.init(queue: "billing", to: "orders", routingKey: "new.#")]
/// ```
///
/// Declaring what is there already changes nothing, and fails where it differs: the error names both values
/// (``RabbitError/Kind/topologyMismatch``). A policy of the broker can set most arguments as well, and can be changed without
/// deleting a queue: what differs between environments is better kept there.
public struct RabbitTopology: Sendable, Hashable {
    /// Exchanges; the default one is always there.
    public var exchanges: [Exchange] = []
    /// Queues.
    public var queues: [Queue] = []
    /// Bindings.
    public var bindings: [Binding] = []
    /// Whether to make what is missing, or only to see that it is there (`passive`). A passive check looks for the names alone, and
    /// leaves bindings out: AMQP has no question for these.
    public var isPassive = false

    /// Nothing.
    public init(exchanges: [Exchange] = [], queues: [Queue] = [], bindings: [Binding] = [], isPassive: Bool = false) {
        self.exchanges = exchanges
        self.queues = queues
        self.bindings = bindings
        self.isPassive = isPassive
    }

    /// Both.
    public func merging(_ other: RabbitTopology) -> RabbitTopology {
        var result = self
        result.exchanges += other.exchanges.filter { !exchanges.contains($0) }
        result.queues += other.queues.filter { !queues.contains($0) }
        result.bindings += other.bindings.filter { !bindings.contains($0) }
        return result
    }

    /// What routes messages to queues.
    public struct Exchange: Sendable, Hashable {
        /// How an exchange routes.
        public enum Kind: Sendable, Hashable {
            /// By the whole routing key.
            case direct
            /// To everything that is bound.
            case fanout
            /// By patterns: `*` is a word, `#` any number of them.
            case topic
            /// By headers.
            case headers
            /// A plugin's, `x-delayed-message` for instance.
            case other(String)

            var name: String {
                switch self {
                case .direct: "direct"
                case .fanout: "fanout"
                case .topic: "topic"
                case .headers: "headers"
                case .other(let name): name
                }
            }
        }

        /// The name.
        public var name: String
        /// How it routes.
        public var kind: Kind
        /// Whether it outlives a restart of the broker.
        public var isDurable = true
        /// Whether it goes when nothing is bound to it any more.
        public var isAutoDeleted = false
        /// Whether only other exchanges may publish to it.
        public var isInternal = false
        /// Arguments, such as `alternate-exchange`.
        public var arguments: RabbitTable

        /// A durable exchange.
        public init(_ name: String, _ kind: Kind = .direct, arguments: RabbitTable = [:]) {
            self.name = name
            self.kind = kind
            self.arguments = arguments
        }
    }

    /// What keeps messages.
    public struct Queue: Sendable, Hashable {
        /// How a queue keeps messages (`x-queue-type`).
        public enum Kind: String, Sendable, Hashable {
            /// On one node.
            case classic
            /// On several, by Raft: for what must not be lost. Counts deliveries.
            case quorum
            /// A log that is read without being emptied.
            case stream
        }

        /// The name; not empty. A queue that the broker names has another name after each reconnect, and is not supported.
        public var name: String
        /// How it keeps messages.
        public var kind: Kind
        /// Whether it outlives a restart of the broker. Quorum queues and streams do.
        public var isDurable = true
        /// Whether one connection has it for itself, and it goes with that. Each publisher and each consumer has a connection of its
        /// own: the first that declares the queue has it, and others are refused (405, ``RabbitError/Kind/resourceLocked``). So it
        /// belongs in the topology of its consumer alone.
        public var isExclusive = false
        /// Whether it goes with its last consumer.
        public var isAutoDeleted = false
        /// Where the broker sends what is rejected, expires, or has no room (`x-dead-letter-exchange`).
        public var deadLetterExchange: String?
        /// With which routing key (`x-dead-letter-routing-key`); nil for the message's own.
        public var deadLetterRoutingKey: String?
        /// After how many failed deliveries a quorum queue gives a message up (`x-delivery-limit`).
        public var deliveryLimit: Int?
        /// How long messages are kept (`x-message-ttl`), in whole milliseconds, at most 49 days.
        public var messageTimeToLive: Duration?
        /// How many messages it holds (`x-max-length`).
        public var maximumLength: Int?
        /// Whether a full queue refuses what comes (`x-overflow=reject-publish`), which a publisher sees as
        /// ``RabbitError/Kind/nacked``, or drops its oldest messages.
        public var refusesWhenFull = false
        /// Whether only one of its consumers gets messages at a time (`x-single-active-consumer`).
        public var hasSingleActiveConsumer = false
        /// Other arguments; they count where they name the same.
        public var arguments: RabbitTable = [:]

        /// A durable queue.
        public init(
            _ name: String,
            _ kind: Kind = .classic,
            deadLetterExchange: String? = nil,
            deadLetterRoutingKey: String? = nil,
            arguments: RabbitTable = [:]
        ) {
            self.name = name
            self.kind = kind
            self.deadLetterExchange = deadLetterExchange
            self.deadLetterRoutingKey = deadLetterRoutingKey
            self.arguments = arguments
        }

        /// The arguments as they travel.
        var allArguments: RabbitTable {
            var all: RabbitTable = [:]
            // Classic is what a queue is by default, and what a queue of an older broker was declared without.
            if kind != .classic { all["x-queue-type"] = .string(kind.rawValue) }
            all["x-dead-letter-exchange"] = deadLetterExchange.map { .string($0) }
            all["x-dead-letter-routing-key"] = deadLetterRoutingKey.map { .string($0) }
            all["x-delivery-limit"] = deliveryLimit.map { .int64(Int64($0)) }
            all["x-message-ttl"] = messageTimeToLive.map { .int64($0.wholeMilliseconds) }
            all["x-max-length"] = maximumLength.map { .int64(Int64($0)) }
            if refusesWhenFull { all["x-overflow"] = "reject-publish" }
            if hasSingleActiveConsumer { all["x-single-active-consumer"] = true }
            return all.merging(arguments)
        }
    }

    /// What an exchange routes where.
    public struct Binding: Sendable, Hashable {
        /// Where to.
        public enum Destination: Sendable, Hashable {
            /// To a queue.
            case queue(String)
            /// To another exchange, which is RabbitMQ's extension.
            case exchange(String)

            /// The queue's or the exchange's name.
            public var name: String {
                switch self {
                case .queue(let name), .exchange(let name): name
                }
            }
        }

        /// Where from.
        public var exchange: String
        /// Where to.
        public var destination: Destination
        /// Which messages; what it means is the exchange's affair.
        public var routingKey: String
        /// Arguments, which exchanges of headers match.
        public var arguments: RabbitTable

        /// A binding of a queue to an exchange.
        public init(queue: String, to exchange: String, routingKey: String = "", arguments: RabbitTable = [:]) {
            self.destination = .queue(queue)
            self.exchange = exchange
            self.routingKey = routingKey
            self.arguments = arguments
        }

        /// A binding of an exchange to an exchange.
        public init(
            exchange destination: String,
            to exchange: String,
            routingKey: String = "",
            arguments: RabbitTable = [:]
        ) {
            self.destination = .exchange(destination)
            self.exchange = exchange
            self.routingKey = routingKey
            self.arguments = arguments
        }
    }

    /// Why it cannot be declared; nil where it can.
    var fault: RabbitError? {
        for exchange in exchanges {
            guard !exchange.name.isEmpty, exchange.name.utf8.count <= 255 else {
                return .invalidConfiguration("an exchange's name is empty or has more than 255 bytes")
            }
            if exchange.kind.name.utf8.count > 255 {
                return .invalidConfiguration("the kind of exchange \(exchange.name) has more than 255 bytes")
            }
            if let fault = exchange.arguments.fault {
                return .invalidConfiguration("\(exchange.name): \(fault.reason)")
            }
        }
        for queue in queues {
            guard !queue.name.isEmpty, queue.name.utf8.count <= 255 else {
                return .invalidConfiguration("a queue's name is empty or has more than 255 bytes")
            }
            if queue.kind != .classic, !queue.isDurable || queue.isExclusive || queue.isAutoDeleted {
                return .invalidConfiguration(
                    "queue \(queue.name) is \(queue.kind), and has to be durable and for everybody"
                )
            }
            if let time = queue.messageTimeToLive, time < .zero || time > .milliseconds(UInt32.max) {
                return .invalidConfiguration("queue \(queue.name): messageTimeToLive is not from 0 to 49 days")
            }
            if let fault = queue.allArguments.fault { return .invalidConfiguration("\(queue.name): \(fault.reason)") }
        }
        for binding in bindings {
            guard binding.exchange.utf8.count <= 255, binding.destination.name.utf8.count <= 255,
                binding.routingKey.utf8.count <= 255
            else { return .invalidConfiguration("a binding's name or routing key has more than 255 bytes") }
            if let fault = binding.arguments.fault { return .invalidConfiguration("a binding: \(fault.reason)") }
        }
        return nil
    }
}

extension Duration {
    /// Whole milliseconds; the largest number there is of what is longer.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflows) = seconds.multipliedReportingOverflow(by: 1_000)
        guard !overflows else { return seconds < 0 ? .min : .max }
        let (sum, overflowsToo) = product.addingReportingOverflow(attoseconds / 1_000_000_000_000_000)
        return overflowsToo ? (seconds < 0 ? .min : .max) : sum
    }
}
