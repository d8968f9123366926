/// Whether the consumer is a member of its group, and for which topics. Of the consumer's thread.
final class GroupSubscription {
    private let core: ConsumerCore
    private let client: RdKafkaClient
    /// Topics that are read beside the configured ones.
    private var moreTopics: Set<String> = []
    private var isSubscribed = false

    init(_ core: ConsumerCore, _ client: RdKafkaClient) {
        self.core = core
        self.client = client
    }

    /// Joins the group, or changes what is read in it.
    ///
    /// - Returns: Why the consumer cannot go on.
    func join() -> KafkaError? {
        // The first time, the group is joined, and what is assigned is waited for.
        if !isSubscribed { client.noteJoining() }
        isSubscribed = true
        let topics = core.configuration.topics + moreTopics.subtracting(core.configuration.topics).sorted()
        let error = client.subscribe(to: topics)
        if core.configuration.groupProtocol == .consumer { core.reportMissingTopics(topics) }
        return error
    }

    /// Reads more topics.
    ///
    /// - Returns: Whether the group has to be told.
    func add(_ topics: [String]) -> Bool {
        let known = moreTopics
        moreTopics.formUnion(topics)
        return isSubscribed && moreTopics != known
    }

    /// Notes that the group has refused this member, so that there is no goodbye to wait for. librdkafka is told nothing: the
    /// consumer closes, and leaves the group with that.
    func end() {
        isSubscribed = false
    }

    /// Leaves the group, to join it again later perhaps.
    func leave() {
        isSubscribed = false
        if let error = client.unsubscribe() { core.report(error) }
    }

    /// Whether the group would hear of it if this member left now, or is not to hear anything.
    var maySayGoodbye: Bool {
        guard isSubscribed, client.fatalError == nil else { return true }
        return client.groupLog?.membership.maySayGoodbye ?? true
    }
}
