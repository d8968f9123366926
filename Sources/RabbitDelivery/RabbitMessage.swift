/// What travels: where to, a body, and AMQP's properties.
///
/// ```swift
/// RabbitMessage(exchange: "orders", routingKey: "new", body: "three apples")       // text
/// RabbitMessage(exchange: "orders", routingKey: "new", body: bytes)                // any bytes
/// try RabbitMessage(exchange: "orders", routingKey: "new", value: order)           // Encodable, as JSON
/// RabbitMessage(queue: "billing", body: "three apples")                            // straight to a queue
/// ```
public struct RabbitMessage: Sendable, Hashable {
    /// The exchange; empty for the default one, which routes to the queue that the routing key names. At most 255 bytes.
    public var exchange: String

    /// What the exchange routes by; at most 255 bytes.
    public var routingKey: String

    /// The body, of any size up to the publisher's and the broker's limit (128 MiB by default).
    public var body: [UInt8]

    /// AMQP's properties, headers among them.
    public var properties: RabbitProperties

    /// Whether a message that no queue is bound for is an error (`mandatory`). Without it the broker confirms such a message,
    /// and forgets it.
    ///
    /// The broker does not say by number which message it returns, so a mandatory one has a header by which it is told from others. Where
    /// a quorum queue takes as much as it can, that header costs some 10 % of the rate.
    public var isMandatory: Bool

    /// A message from bytes.
    ///
    /// - Parameters:
    ///   - exchange: The exchange; empty for the default one.
    ///   - routingKey: What the exchange routes by.
    ///   - body: The bytes, in order.
    ///   - properties: AMQP's properties; persistent unless they say otherwise.
    ///   - isMandatory: Whether a message that no queue is bound for is an error.
    public init(
        exchange: String = "",
        routingKey: String,
        body: some Sequence<UInt8>,
        properties: RabbitProperties = RabbitProperties(),
        isMandatory: Bool = true
    ) {
        self.exchange = exchange
        self.routingKey = routingKey
        self.body = Array(body)
        self.properties = properties
        self.isMandatory = isMandatory
    }

    /// A message from an array of bytes, which is shared, not copied.
    public init(
        exchange: String = "",
        routingKey: String,
        body: [UInt8],
        properties: RabbitProperties = RabbitProperties(),
        isMandatory: Bool = true
    ) {
        self.exchange = exchange
        self.routingKey = routingKey
        self.body = body
        self.properties = properties
        self.isMandatory = isMandatory
    }

    /// A message from text, as UTF-8.
    public init(
        exchange: String = "",
        routingKey: String,
        body: String,
        properties: RabbitProperties = RabbitProperties(),
        isMandatory: Bool = true
    ) {
        self.init(
            exchange: exchange,
            routingKey: routingKey,
            body: Array(body.utf8),
            properties: properties,
            isMandatory: isMandatory
        )
    }

    /// A message for one queue, by way of the default exchange.
    public init(queue: String, body: String, properties: RabbitProperties = RabbitProperties()) {
        self.init(exchange: "", routingKey: queue, body: Array(body.utf8), properties: properties)
    }

    /// A message for one queue, by way of the default exchange. The array is shared, not copied.
    public init(queue: String, body: [UInt8], properties: RabbitProperties = RabbitProperties()) {
        self.init(exchange: "", routingKey: queue, body: body, properties: properties)
    }

    /// A message for one queue, by way of the default exchange.
    public init(queue: String, body: some Sequence<UInt8>, properties: RabbitProperties = RabbitProperties()) {
        self.init(exchange: "", routingKey: queue, body: body, properties: properties)
    }

    /// The body as text, where it is UTF-8.
    public var text: String? { String(validating: body, as: UTF8.self) }

    /// Why it cannot be sent; nil where it can.
    func fault(maximumBodyBytes: Int) -> RabbitError? {
        if body.count > maximumBodyBytes {
            return RabbitError(
                .messageTooLarge,
                persistence: .notPersisted,
                recovery: .fixRequest,
                reason: "the body has \(body.count) bytes, and maximumBodyBytes is \(maximumBodyBytes)"
            )
        }
        if exchange.utf8.count > 255 { return .invalidArgument("the exchange's name has more than 255 bytes") }
        if routingKey.utf8.count > 255 { return .invalidArgument("the routing key has more than 255 bytes") }
        return properties.fault
    }
}

/// AMQP's properties of a message (`basic` class, AMQP 0-9-1 1.8.1).
public struct RabbitProperties: Sendable, Hashable {
    /// The header in which a mandatory message carries its number to the broker, so that one that comes back is told from
    /// others like it. It is taken off what is received.
    static let sequenceHeader = "x-delivery-sequence"

    /// What the body is, as a MIME type. Values that are encoded as JSON get `application/json`.
    public var contentType: String?
    /// How the body is encoded, `gzip` for instance. The package neither compresses nor decompresses.
    public var contentEncoding: String?
    /// The headers. One of the application's own that is called `x-delivery-sequence` does not travel: a mandatory message has the publisher's
    /// in its place, which this package takes off what it receives, and consumers in other languages see.
    public var headers: RabbitTable
    /// Whether durable queues keep the message over a restart of the broker (`delivery-mode` 2). A message that was received
    /// without a delivery mode is not persistent.
    public var isPersistent: Bool
    /// In queues with `x-max-priority` the larger comes first.
    public var priority: UInt8?
    /// Which request this answers, for instance.
    public var correlationID: String?
    /// The queue that answers go to. RabbitMQ's pseudo-queue `amq.rabbitmq.reply-to` needs a consumer on the publisher's own channel, and is
    /// not supported.
    public var replyTo: String?
    /// How long a queue keeps the message, in whole milliseconds (`expiration`). In a classic queue only the head is looked
    /// at. What was received and is not a number reads as nil.
    public var expiration: Duration?
    /// The application's identifier of the message.
    public var messageID: String?
    /// When the application made it.
    public var timestamp: RabbitTimestamp?
    /// The application's name of the kind of message.
    public var type: String?
    /// The user who sent it: where it is set, the broker refuses the message unless the connection's user is the same.
    public var userID: String?
    /// The application that made it.
    public var appID: String?
    /// Deprecated by AMQP, and carried all the same.
    public var clusterID: String?

    /// Persistent, and nothing else.
    ///
    /// - Parameters:
    ///   - headers: The headers.
    ///   - isPersistent: Whether durable queues keep the message over a restart of the broker.
    public init(headers: RabbitTable = [:], isPersistent: Bool = true) {
        self.headers = headers
        self.isPersistent = isPersistent
    }

    /// The expiration as it travels: milliseconds, at least 0, at most 2³²-1 of them, which is the broker's limit.
    var expirationText: String? {
        guard let expiration else { return nil }
        let (seconds, attoseconds) = min(max(expiration, .zero), .milliseconds(UInt32.max)).components
        return String(seconds * 1_000 + attoseconds / 1_000_000_000_000_000)
    }

    static func expiration(fromText text: String) -> Duration? {
        UInt32(text).map { .milliseconds(Int64($0)) }
    }

    var fault: RabbitError? {
        if let name = longProperty { return .invalidArgument("the \(name) has more than 255 bytes") }
        return headers.isEmpty ? nil : headers.fault
    }

    /// A property that AMQP's short strings have no room for. Looked at for every message: no list of them is made.
    private var longProperty: String? {
        func isLong(_ text: String?) -> Bool { text.map { $0.utf8.count > 255 } ?? false }
        if isLong(contentType) { return "content type" }
        if isLong(contentEncoding) { return "content encoding" }
        if isLong(correlationID) { return "correlation id" }
        if isLong(replyTo) { return "reply-to" }
        if isLong(messageID) { return "message id" }
        if isLong(type) { return "type" }
        if isLong(userID) { return "user id" }
        if isLong(appID) { return "app id" }
        if isLong(clusterID) { return "cluster id" }
        return nil
    }
}

extension RabbitTable {
    /// Why it cannot travel; nil where it can.
    var fault: RabbitError? {
        guard depth < RabbitFieldValue.maximumDepth else {
            return .invalidArgument(
                "tables and arrays are in each other more than \(RabbitFieldValue.maximumDepth) times"
            )
        }
        return hasLongName ? .invalidArgument("a header's name has more than 255 bytes") : nil
    }

    fileprivate var hasLongName: Bool {
        entries.contains { $0.name.utf8.count > 255 || $0.value.hasLongName }
    }
}

extension RabbitFieldValue {
    fileprivate var hasLongName: Bool {
        switch self {
        case .table(let table): table.hasLongName
        case .array(let array): array.contains { $0.hasLongName }
        default: false
        }
    }
}
