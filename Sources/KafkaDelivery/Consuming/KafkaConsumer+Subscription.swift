extension KafkaConsumer {
    /// All partitions of the configured topics, whichever member has them: of those that are named, and of those that are there and
    /// match a pattern. A topic that is not there has none.
    ///
    /// - Throws: ``KafkaError``: `timedOut` and others that may pass after `timeout`; `authorization`; `cancelled`.
    package func partitionsOfTopics(within timeout: Duration) async throws(KafkaError) -> [KafkaTopicPartition] {
        let deadline = ContinuousClock.now.advanced(by: timeout.asTimeout)
        return try await core.blocking.run { [core] in
            Result { () throws(KafkaError) in
                let configured = core.configuration.topics
                var topics = Set(configured.filter { !$0.hasPrefix("^") })
                // What is no pattern librdkafka refuses at subscribing.
                let patterns = configured.filter { $0.hasPrefix("^") }.compactMap { try? PosixExpression($0) }
                if !patterns.isEmpty {
                    topics.formUnion(
                        try core.usableClient().topicNames(until: deadline).filter { name in
                            patterns.contains { $0.matches(name) }
                        }
                    )
                }
                var partitions: [KafkaTopicPartition] = []
                for topic in topics.sorted() {
                    do throws(KafkaError) {
                        let numbers = try core.usableClient().partitions(of: topic, until: deadline)
                        partitions += numbers.map { KafkaTopicPartition(topic: topic, partition: $0) }
                    } catch {
                        guard error.kind == .unknownTopicOrPartition else { throw error }
                    }
                }
                return partitions
            }
        }.get()
    }
}
