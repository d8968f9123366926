/// Whether the consumer is a member of its group, and for which topics. Of the consumer's thread.
final class GroupSubscription {
    /// How often a broker is asked for a topic that may not exist, and how long the client is held for one question.
    private static let maximumQuestions = 50
    private static let question = Duration.milliseconds(200)

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
        if core.configuration.groupProtocol == .consumer { reportMissingTopics(topics) }
        return error
    }

    /// Reports those of some topics that do not exist, once.
    ///
    /// In the classic protocol members look their topics up, and librdkafka reports what is missing. In the other one the
    /// brokers do, and nothing says why a member has no partitions. Asked on a thread of its own, which waits for brokers.
    private func reportMissingTopics(_ topics: [String]) {
        let named = topics.filter { !$0.hasPrefix("^") }
        _ = BlockingThread.start("kafka-topics") { [weak core] in
            for topic in named {
                questions: for _ in 0..<Self.maximumQuestions {
                    guard let core, let client = core.client else { return }
                    do throws(KafkaError) {
                        _ = try client.partitions(of: topic, until: .now.advanced(by: Self.question))
                        break questions
                    } catch {
                        guard error.recovery != .retry else { continue }
                        core.report(error)
                        break questions
                    }
                }
            }
        }
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
