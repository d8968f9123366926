extension ConsumerCore {
    /// Reads the retry topics of the configured topics too.
    ///
    /// - Throws: ``KafkaError`` of kind `invalidConfiguration` where the partitions are named, and theirs are not among them.
    func subscribeToRetries(_ topics: KafkaRetryTopics?) throws(KafkaError) {
        guard let topics else { return }
        guard configuration.joinsGroup else {
            let unread = topics.topics(of: Set(configuration.partitions.map(\.topic)).sorted())
            guard unread.isEmpty else {
                throw .invalidConfiguration("nobody would read \(unread): partitions has none of these retry topics")
            }
            return
        }
        let names = topics.topics(of: configuration.topics)
        if !names.isEmpty { send(.subscribeTo(names)) }
    }
}
