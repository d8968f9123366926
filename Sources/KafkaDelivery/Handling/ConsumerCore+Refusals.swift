internal import Logging

extension ConsumerCore {
    /// Says that a dead letter can never be stored.
    func noteRefusal(
        of letter: KafkaMessage,
        _ delivery: KafkaConsumer.Delivery,
        _ error: KafkaError,
        _ choice: KafkaDeadLetters.Refusal
    ) {
        events.send(.deadLetterRefused(delivery.source, error))
        let metadata: Logger.Metadata = [
            "kafka_delivery": "\(delivery)", "kafka_topic": "\(letter.topic)", "kafka_error": "\(error)",
            "kafka_bytes": "\(letter.wireSize)",
        ]
        switch choice {
        case .hold:
            logger.error(
                "Message given up, and its dead letter can never be stored as it is: it holds back what comes after it",
                metadata: metadata
            )
        case .handOver:
            logger.notice(
                "Message given up, and its dead letter can never be stored: it is handed over",
                metadata: metadata
            )
        }
    }

    /// Refuses dead-letter and retry topics that cannot be, of those topics that are known before anything is read.
    func refuseTopics(_ retries: KafkaRetryTopics?, deadLetterTopic: ((String) -> String)?) throws(KafkaError) {
        let known = Set(configuration.topics.filter { !$0.hasPrefix("^") } + configuration.partitions.map(\.topic))
        let retryTopics = Set(known.flatMap { retries?.topics(of: $0) ?? [] })
        for topic in known.subtracting(retryTopics).sorted() {
            for name in retries?.topics(of: topic) ?? [] {
                if let error = KafkaMessage.refusal(ofTopic: name) {
                    throw .invalidConfiguration("\(topic) has no possible retry topic: \(error.reason)")
                }
            }
            if let name = deadLetterTopic?(topic), let error = KafkaMessage.refusal(ofTopic: name) {
                throw .invalidConfiguration("\(topic) has no possible dead-letter topic: \(error.reason)")
            }
        }
    }
}
