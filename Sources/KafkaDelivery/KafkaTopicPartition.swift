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

extension KafkaTopicPartition {
    /// Why there can be no such partition; nil where there can.
    package var fault: String? {
        if let fault = TopicName.fault(of: topic) { return fault }
        return (0...Int(Int32.max)).contains(partition) ? nil : "\(self) cannot be a partition"
    }
}

extension [KafkaTopicPartition] {
    /// Refuses what librdkafka would cut, or not find.
    func validate() throws(KafkaError) {
        for partition in self {
            if let fault = partition.fault { throw .invalidArgument(fault, persistence: nil) }
        }
    }
}
