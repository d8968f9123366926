@_exported public import DeliveryCore

/// What a service writes into its outbox, in the transaction of its own database that also changes the business row: a message
/// for one destination, to be delivered once that transaction is committed.
///
/// ```swift
/// let message = OutboxMessage(topic: "orders", key: order.id, payload: try JSONEncoder().encode(order))
/// let statement = try table.insert(message)          // SQL and bound values, for whatever client runs the transaction
/// ```
///
/// The order of a key's messages is the order in which their ids were drawn. Where the writers of a key change one row
/// before they append (`UPDATE orders … WHERE id = …`, then the outbox row) that is the order of their commits.
public struct OutboxMessage: Sendable, Hashable {
    /// The name under which ``OutboxPublisher`` knows the ``OutboxDestination``: `kafka` by default.
    public var destination: String

    /// Where it goes within the destination: a topic, a routing key, a URL's path. Not empty.
    public var topic: String

    /// What is delivered in order: messages with the same key, one after another. Nil for a message that has no order.
    /// An empty key is a key.
    public var key: [UInt8]?

    /// The payload, byte for byte as it is delivered; nil for none, for instance a tombstone in a compacted topic. Empty is
    /// not nil.
    public var payload: [UInt8]?

    /// The headers, in order; names may repeat.
    public var headers: [OutboxHeader]

    /// What a destination needs beside: `partition` and `timestamp` for Kafka, `method` for HTTP, `exchange` for RabbitMQ.
    /// Each destination documents what it reads; others are ignored.
    public var attributes: [String: String]

    /// The same for each delivery of this message, so that a receiver can tell a repetition. 128 random bits in hexadecimal
    /// where the service has none of its own. Not empty.
    public var idempotencyKey: String

    /// A message from bytes.
    ///
    /// - Parameters:
    ///   - destination: The destination's name.
    ///   - topic: Topic, routing key or path; not empty.
    ///   - key: What is kept in order; nil for no order.
    ///   - payload: The bytes; nil for none.
    ///   - headers: In order; names may repeat.
    ///   - attributes: What the destination needs beside.
    ///   - idempotencyKey: What tells a repetition; random by default.
    @_disfavoredOverload
    public init(
        destination: String = "kafka",
        topic: String,
        key: [UInt8]?,
        payload: [UInt8]?,
        headers: [OutboxHeader] = [],
        attributes: [String: String] = [:],
        idempotencyKey: String = OutboxMessage.randomIdempotencyKey()
    ) {
        self.destination = destination
        self.topic = topic
        self.key = key
        self.payload = payload
        self.headers = headers
        self.attributes = attributes
        self.idempotencyKey = idempotencyKey
    }

    /// A message whose key is text, as UTF-8.
    ///
    /// - Parameters:
    ///   - destination: The destination's name.
    ///   - topic: Topic, routing key or path; not empty.
    ///   - key: What is kept in order; nil for no order.
    ///   - payload: The bytes; nil for none.
    ///   - headers: In order; names may repeat.
    ///   - attributes: What the destination needs beside.
    ///   - idempotencyKey: What tells a repetition; random by default.
    public init(
        destination: String = "kafka",
        topic: String,
        key: String? = nil,
        payload: [UInt8]?,
        headers: [OutboxHeader] = [],
        attributes: [String: String] = [:],
        idempotencyKey: String = OutboxMessage.randomIdempotencyKey()
    ) {
        self.init(
            destination: destination,
            topic: topic,
            key: key.map { Array($0.utf8) },
            payload: payload,
            headers: headers,
            attributes: attributes,
            idempotencyKey: idempotencyKey
        )
    }

    /// A message from any bytes, for instance `Data`.
    ///
    /// - Parameters:
    ///   - destination: The destination's name.
    ///   - topic: Topic, routing key or path; not empty.
    ///   - key: What is kept in order; nil for no order.
    ///   - payload: The bytes; nil for none.
    ///   - headers: In order; names may repeat.
    ///   - attributes: What the destination needs beside.
    ///   - idempotencyKey: What tells a repetition; random by default.
    @_disfavoredOverload
    public init(
        destination: String = "kafka",
        topic: String,
        key: String? = nil,
        payload: some Sequence<UInt8>,
        headers: [OutboxHeader] = [],
        attributes: [String: String] = [:],
        idempotencyKey: String = OutboxMessage.randomIdempotencyKey()
    ) {
        self.init(
            destination: destination,
            topic: topic,
            key: key.map { Array($0.utf8) },
            payload: Array(payload),
            headers: headers,
            attributes: attributes,
            idempotencyKey: idempotencyKey
        )
    }

    /// A message of text, as UTF-8.
    ///
    /// - Parameters:
    ///   - destination: The destination's name.
    ///   - topic: Topic, routing key or path; not empty.
    ///   - key: What is kept in order; nil for no order.
    ///   - payload: The bytes; nil for none.
    ///   - headers: In order; names may repeat.
    ///   - attributes: What the destination needs beside.
    ///   - idempotencyKey: What tells a repetition; random by default.
    public init(
        destination: String = "kafka",
        topic: String,
        key: String? = nil,
        payload: String,
        headers: [OutboxHeader] = [],
        attributes: [String: String] = [:],
        idempotencyKey: String = OutboxMessage.randomIdempotencyKey()
    ) {
        self.init(
            destination: destination,
            topic: topic,
            key: key.map { Array($0.utf8) },
            payload: Array(payload.utf8),
            headers: headers,
            attributes: attributes,
            idempotencyKey: idempotencyKey
        )
    }

    /// 128 random bits, as 32 hexadecimal digits.
    public static func randomIdempotencyKey() -> String {
        var generator = SystemRandomNumberGenerator()
        let digits = Array("0123456789abcdef".utf8)
        return String(unsafeUninitializedCapacity: 32) { buffer in
            for half in 0..<2 {
                var word = generator.next()
                for index in 0..<16 {
                    buffer[half * 16 + index] = digits[Int(word & 0xF)]
                    word >>= 4
                }
            }
            return 32
        }
    }
}

/// One header of a message: a name and a value, which may be null.
public struct OutboxHeader: Sendable, Hashable {
    /// The name; not necessarily unique in a message.
    public var name: String

    /// The bytes, or nil for null.
    public var value: [UInt8]?

    /// A header of bytes.
    public init(_ name: String, _ value: [UInt8]?) {
        self.name = name
        self.value = value
    }

    /// A header of any bytes, for instance `Data`.
    @_disfavoredOverload
    public init(_ name: String, _ value: some Sequence<UInt8>) {
        self.name = name
        self.value = Array(value)
    }

    /// A header of text, as UTF-8.
    public init(_ name: String, _ value: String) {
        self.name = name
        self.value = Array(value.utf8)
    }

    /// The value as text, where it is UTF-8.
    public var text: String? {
        value.flatMap { String(validating: $0, as: UTF8.self) }
    }
}

extension OutboxMessage {
    /// The header with which destinations send the idempotency key: `idempotency-key`, which Kafka consumers of this package
    /// recognise and which HTTP has a draft for (draft-ietf-httpapi-idempotency-key-header).
    public static let idempotencyKeyHeader = "idempotency-key"

    /// Says why a message cannot be stored or could never be delivered.
    ///
    /// - Throws: ``OutboxError`` of kind `invalidMessage` where a text is empty or has a NUL character, which a database's text
    ///   cannot hold, or where a name is longer than a kilobyte.
    public func validate() throws(OutboxError) {
        for (name, text) in [("destination", destination), ("topic", topic), ("idempotencyKey", idempotencyKey)] {
            guard !text.isEmpty else { throw .invalidMessage("its \(name) is empty") }
            guard !text.utf8.contains(0) else { throw .invalidMessage("its \(name) has a NUL character") }
        }
        guard destination.utf8.count <= 1_024, idempotencyKey.utf8.count <= 1_024 else {
            throw .invalidMessage("its destination or its idempotencyKey is longer than 1,024 bytes")
        }
    }
}
