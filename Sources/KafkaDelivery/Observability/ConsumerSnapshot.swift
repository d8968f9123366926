/// What a consumer's metrics are brought up to date from: values, which the consumer's thread collects from what is counted
/// anyway.
struct ConsumerSnapshot {
    /// What one partition says of itself.
    struct Partition {
        let totals: DeliveryTotals
        let unsettled: Int
        /// How long ago the earliest unsettled delivery was handed out last; nil where there is none.
        let oldestAge: Duration?
        /// How many messages are not finished; nil where that is not known yet.
        let lag: Int64?
    }

    let partitions: [KafkaTopicPartition: Partition]
    /// In the life of the consumer.
    let lateVerdicts: Int
    let events: EventCounts
}

/// What happened to deliveries.
struct DeliveryTotals {
    var delivered = 0
    var redelivered = 0
    var acknowledged = 0
    var rejected = 0
}

/// How many there were of those events that metrics count.
struct EventCounts {
    var stuck = 0
    var deadLetters = 0
    var deadLetterFailures = 0
    var deadLetterRefusals = 0
}
