/// How often a message is handed over when handling it fails, and how long between.
public typealias KafkaRetryPolicy = RetryPolicy

/// Topics in which messages that failed wait for their next attempt, so that what comes after them goes on meanwhile.
///
/// ```swift
/// try await consumer.forEach(
///     retry: .none,
///     retryTopics: KafkaRetryTopics(delays: [.seconds(5), .seconds(60)], producer: producer),   // orders-retry-5s, -1m
///     deadLetters: KafkaDeadLetters(producer: producer)                                       // then orders-dlt
/// ) { delivery in … }
/// ```
///
/// A message that the loop's policy gives up is published to the first retry topic, with the time at which it is due and where it comes from in
/// its headers (``KafkaRetriedMessage``); from there to the second, and after the last to the dead letters of the topic it
/// came from first. The original is settled once the broker has confirmed its copy. A copy that can never be stored goes to
/// the dead letters at once, or ends the loop with the handler's error where there are none. It keeps key, value, headers and,
/// where the retry topic has it, its partition; messages are no longer handled in the order in which they were sent, not those of a
/// key either.
///
/// `forEach` subscribes to the retry topics of the configured topics too. They have to exist, or be made by the brokers;
/// a topic of which everything waits equally long needs no more partitions than the original. Topics given as regular
/// expressions are not derived from: let the expression match the retry topics, or name them. A consumer of named partitions
/// has to name the retry topics' too.
///
/// A message that is not due holds back its partition of the retry topic and nothing else. It is not paused, and the group
/// membership does not depend on it. Due times are compared with this machine's clock; no message waits longer than its
/// topic's delay, whatever another machine's clock said.
public struct KafkaRetryTopics: Sendable {
    /// How long each retry topic makes its messages wait, in the order of the attempts.
    public let delays: [Duration]

    private static let longest = Duration.seconds(100 * 365 * 86_400)

    let copies: ConfirmedCopy
    private let topicName: @Sendable (_ original: String, _ delay: Duration) -> String

    /// Retry topics, one for each delay.
    ///
    /// - Parameters:
    ///   - delays: How long to wait before each further attempt; less than zero counts as zero, more than a hundred years as
    ///     that.
    ///   - producer: What to publish with. It stays the caller's to close.
    ///   - topicName: The retry topic of an original topic and a delay.
    public init(
        delays: [Duration],
        producer: KafkaProducer,
        topicName: @escaping @Sendable (_ original: String, _ delay: Duration) -> String = Self.defaultTopicName
    ) {
        self.delays = delays.map { min(max($0, .zero), Self.longest) }
        self.copies = ConfirmedCopy(producer: producer)
        self.topicName = topicName
    }

    /// `orders-retry-5s`: the delay in the largest unit of `d`, `h`, `m`, `s` and `ms` that it is a whole number of.
    public static let defaultTopicName: @Sendable (_ original: String, _ delay: Duration) -> String = {
        original,
        delay in
        let (seconds, attoseconds) = delay.components
        let milliseconds = attoseconds / 1_000_000_000_000_000
        let units: [(Int64, String)] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")]
        if milliseconds == 0, let (unit, name) = units.first(where: { seconds > 0 && seconds % $0.0 == 0 }) {
            return "\(original)-retry-\(seconds / unit)\(name)"
        }
        return "\(original)-retry-\(seconds * 1_000 + milliseconds)ms"
    }

    /// The retry topics of a topic, in the order of the attempts.
    public func topics(of original: String) -> [String] {
        delays.map { topicName(original, $0) }
    }

    /// How long messages wait in a retry topic; nil where it is none of the original topic's.
    func delay(of retryTopic: String, original: String) -> Duration? {
        topics(of: original).firstIndex(of: retryTopic).map { delays[$0] }
    }

    /// The retry topics of those of a subscription that are not retry topics themselves.
    func topics(of subscription: [String]) -> [String] {
        let named = subscription.filter { !$0.hasPrefix("^") }
        let retryTopics = Set(named.flatMap { topics(of: $0) })
        let originals = named.filter { !retryTopics.contains($0) }
        return Set(originals.flatMap { topics(of: $0) }).subtracting(subscription).sorted()
    }

    /// Where a delivery comes from. Headers alone do not say that it was retried: they may have been copied along.
    func origin(of delivery: KafkaConsumer.Delivery) -> (MessageOrigin, KafkaRetriedMessage?) {
        guard let retried = delivery.retried,
            let retryTopic = topics(of: retried.originalTopic).firstIndex(of: delivery.topic)
        else { return (MessageOrigin(delivery), nil) }
        return (MessageOrigin(retried, attempt: delivery.attempt, retryTopic: retryTopic), retried)
    }

    /// How long a delivery has to wait until it is due; nil where it does not.
    func wait(of delivery: KafkaConsumer.Delivery, now: KafkaTimestamp) -> Duration? {
        let (origin, retried) = origin(of: delivery)
        guard let retryTopic = origin.retryTopic, let due = retried?.due, due > now else { return nil }
        let (remaining, isTooLong) = due.millisecondsSince1970
            .subtractingReportingOverflow(now.millisecondsSince1970)
        return isTooLong ? delays[retryTopic] : min(.milliseconds(remaining), delays[retryTopic])
    }

    /// A retry topic, and how long messages wait in it.
    struct Route: Sendable {
        let topic: String
        let delay: Duration
    }

    /// Where a message goes that failed once more, and for how long; nil where that was the last retry topic.
    func next(after origin: MessageOrigin) -> Route? {
        let retryTopic = (origin.retryTopic ?? -1) + 1
        guard retryTopic < delays.count else { return nil }
        return Route(topic: topicName(origin.topic, delays[retryTopic]), delay: delays[retryTopic])
    }

    /// A delivery's copy for a retry topic.
    func copy(
        of delivery: KafkaConsumer.Delivery,
        _ origin: MessageOrigin,
        to topic: String,
        due: KafkaTimestamp,
        _ error: any Error,
        group: String
    ) -> MessageCopy {
        let content = delivery.message
        let retried = KafkaRetriedMessage(origin, due: due, group: group, error: error)
        return MessageCopy(retried, of: content, to: topic, partition: content.partition)
    }
}

extension KafkaRetriedMessage {
    /// The message after one more failure.
    init(_ origin: MessageOrigin, due: KafkaTimestamp, group: String, error: any Error) {
        self.origin = KafkaFailureOrigin(origin, group: group, error: error)
        self.attempt = origin.attempts + 1
        self.due = due
    }
}
