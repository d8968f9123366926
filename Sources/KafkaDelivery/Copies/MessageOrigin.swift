/// Where a message was received from first, whatever retry topics it went through since.
struct MessageOrigin: Sendable, Hashable {
    var topic: String
    var partition: Int
    var offset: Int64
    var timestamp: KafkaTimestamp?
    var timestampType: KafkaConsumer.Delivery.TimestampType?
    /// How many times it was handed over, this time included.
    var attempts: Int
    /// Which retry topic it was received from, from 0; nil where that is the original one.
    var retryTopic: Int?
}

extension MessageOrigin {
    /// A delivery that was never anywhere else.
    init(_ delivery: KafkaConsumer.Delivery) {
        self.topic = delivery.topic
        self.partition = delivery.partition
        self.offset = delivery.offset
        self.timestamp = delivery.timestamp
        self.timestampType = delivery.timestampType
        self.attempts = delivery.attempt
        self.retryTopic = nil
    }

    /// A delivery from a retry topic.
    init(_ retried: KafkaRetriedMessage, attempt: Int, retryTopic: Int) {
        self.topic = retried.originalTopic
        self.partition = retried.originalPartition
        self.offset = retried.originalOffset
        self.timestamp = retried.originalTimestamp
        self.timestampType = retried.originalTimestampType
        self.attempts = retried.attempt + attempt - 1
        self.retryTopic = retryTopic
    }
}
