/// The broker's answer to a send: where the message is stored.
///
/// There is a report only for a message that was confirmed; a send that was not throws ``KafkaError``.
public struct KafkaDeliveryReport: Sendable, Hashable {
    /// The topic.
    public let topic: String

    /// The partition.
    public let partition: Int

    /// The message's offset in the partition; -1 where the broker does not say, see ``hasOffset``.
    public let offset: Int64

    /// When the message was made, or, for a topic set to `LogAppendTime`, when it was stored.
    public let timestamp: KafkaTimestamp?

    /// A report, for tests of code that gets one from a ``Destination`` of their own.
    public init(topic: String, partition: Int, offset: Int64, timestamp: KafkaTimestamp? = nil) {
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
    }

    /// Whether the broker said where the message is: false only for a producer without acknowledgements (`acks=0`), and where a broker
    /// says of a message that was sent again that it has it already (`DUPLICATE_SEQUENCE_NUMBER`).
    public var hasOffset: Bool { offset >= 0 }
}

extension KafkaDeliveryReport {
    init(_ metadata: RecordMetadata, topic: String) {
        self.init(
            topic: topic,
            partition: Int(metadata.partition),
            offset: metadata.offset,
            timestamp: metadata.millisecondsSince1970 < 0
                ? nil : KafkaTimestamp(millisecondsSince1970: metadata.millisecondsSince1970)
        )
    }
}
