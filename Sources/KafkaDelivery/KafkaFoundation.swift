// What needs Foundation: `Data`, `Date` and JSON. So does Handling/KafkaConsumer+JSON.swift, and nothing else.

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

extension Data: KafkaBytesConvertible {
    /// The bytes.
    public var kafkaBytes: KafkaBytes { KafkaBytes(self) }
}

extension KafkaMessage {
    /// A message whose value is `value` as JSON. A nil value is a tombstone, not JSON's `null`.
    ///
    /// - Parameters:
    ///   - topic: The topic's name, not empty.
    ///   - partition: 0 or more; nil lets the key decide.
    ///   - key: Text or bytes; nil for none.
    ///   - value: What to encode; nil for a tombstone.
    ///   - headers: In order; names may repeat.
    ///   - timestamp: nil for the moment it is sent.
    ///   - encoder: How to encode. The default is `JSONEncoder`'s own, which writes dates as seconds since 2001.
    /// - Throws: What the encoder throws.
    @_disfavoredOverload
    public init(
        topic: String,
        partition: Int? = nil,
        key: (any KafkaBytesConvertible)? = nil,
        value: (some Encodable)?,
        headers: KafkaHeaders = [],
        timestamp: KafkaTimestamp? = nil,
        encoder: JSONEncoder = JSONEncoder()
    ) throws {
        self.init(
            topic: topic,
            partition: partition,
            key: key,
            value: try value.map { try encoder.encode($0) },
            headers: headers,
            timestamp: timestamp
        )
    }
}

extension KafkaBytes {
    /// The bytes as `Data`.
    public var data: Data {
        withUnsafeBytes { Data($0) }
    }

    /// The value that the bytes are as JSON.
    ///
    /// - Parameters:
    ///   - type: What it is.
    ///   - decoder: How to decode. The default takes dates as seconds since 2001, as `JSONDecoder` does.
    /// - Throws: What the decoder throws.
    public func decoded<Value: Decodable>(as type: Value.Type, decoder: JSONDecoder = JSONDecoder()) throws -> Value {
        try decoder.decode(type, from: data)
    }
}

extension KafkaTimestamp {
    /// The timestamp of a date, cut to milliseconds. A date that Kafka's 64 bits cannot hold becomes the nearest they
    /// can.
    public init(_ date: Date) {
        let milliseconds = (date.timeIntervalSince1970 * 1000).rounded(.down)
        self.init(millisecondsSince1970: Int64(exactly: milliseconds) ?? (milliseconds < 0 ? .min : .max))
    }

    /// The timestamp as a date.
    public var date: Date {
        Date(timeIntervalSince1970: Double(millisecondsSince1970) / 1000)
    }
}
