/// One partition of a topic.
public struct KafkaTopicPartition: Sendable, Hashable {
    /// The topic's name.
    public let topic: String

    /// The partition's number, from 0.
    public let partition: Int

    /// A partition of a topic.
    public init(topic: String, partition: Int) {
        self.topic = topic
        self.partition = partition
    }
}

extension KafkaTopicPartition: Comparable, CustomStringConvertible {
    /// By topic, then by number.
    public static func < (left: KafkaTopicPartition, right: KafkaTopicPartition) -> Bool {
        (left.topic, left.partition) < (right.topic, right.partition)
    }

    /// As librdkafka writes it: `orders [3]`.
    public var description: String {
        "\(topic) [\(partition)]"
    }
}
