extension ConsumerCore {
    /// What loops that handle deliveries do before they begin.
    ///
    /// - Throws: ``KafkaError`` of kind `invalidConfiguration` for what can never work.
    func prepareHandling(
        _ retry: RetryPolicy,
        _ retryTopics: KafkaRetryTopics?,
        _ deadLetters: KafkaDeadLetters?
    ) throws(KafkaError) {
        if retryTopics != nil, retry.maximumAttempts == nil {
            throw .invalidConfiguration(
                "with a retry policy that never gives up no message goes to a retry topic: set its maximumAttempts"
            )
        }
        if let deadLetters, deadLetters.copies == nil {
            throw .invalidConfiguration(
                "deadLetters has no producer: only transform publishes dead letters with its own"
            )
        }
        try refuseTopics(retryTopics, deadLetterTopic: deadLetters?.topicName)
        try subscribeToRetries(retryTopics)
    }

    /// Reads the retry topics of the configured topics too.
    ///
    /// - Throws: ``KafkaError`` of kind `invalidConfiguration` where the partitions are named, and theirs are not among them.
    func subscribeToRetries(_ topics: KafkaRetryTopics?) throws(KafkaError) {
        guard let topics else { return }
        guard configuration.joinsGroup else {
            let unread = topics.topics(of: Set(configuration.partitions.map(\.topic)).sorted())
            guard unread.isEmpty else {
                throw .invalidConfiguration("\(unread) would not be read: partitions has none of these retry topics")
            }
            return
        }
        let names = topics.topics(of: configuration.topics)
        if !names.isEmpty { send(.subscribeTo(names)) }
    }
}
