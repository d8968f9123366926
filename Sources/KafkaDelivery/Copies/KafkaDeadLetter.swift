/// Where a dead letter comes from and why it was given up, read from its headers.
///
/// The headers have the names and encodings that Spring Kafka's `DeadLetterPublishingRecoverer` uses, so that either
/// reads the other's. A message has them once: those of an earlier dead letter are replaced. Where the message that failed
/// was itself a dead letter, in the dead-letter topic of its original, what is said of the original stays said of that one,
/// and the error and the attempts are the new ones. Anywhere else, such headers were merely copied along, and the message
/// that failed is the original. (Of Spring Kafka's two ways, `appendOriginalHeaders = false` is like this; where it wrote
/// several headers of a name, the first belongs to the first original, and is what is kept, and the last is what is read here.)
@dynamicMemberLookup
public struct KafkaDeadLetter: Sendable, Hashable {
    /// Where it comes from and why it was given up. Its members are this one's too: `deadLetter.originalTopic`.
    public var origin: KafkaFailureOrigin

    /// How many times it was handed over before it was given up.
    public var attempts: Int?

    /// The members of ``origin``.
    public subscript<Value>(dynamicMember member: WritableKeyPath<KafkaFailureOrigin, Value>) -> Value {
        get { origin[keyPath: member] }
        set { origin[keyPath: member] = newValue }
    }
}

extension KafkaDeadLetter {
    enum Header {
        static let names = KafkaFailureOrigin.Names(prefix: "kafka_dlt-")
        static let attempts = "kafka_deliveryAttempt"

        /// Whether a header says that a message is a dead letter, and why, here or in Spring Kafka: it says more of
        /// exceptions, their stack traces for instance.
        static func isOurs(_ name: String) -> Bool {
            name.hasPrefix("kafka_dlt-") || name == attempts
        }
    }

    /// Reads the headers; nil where they are not a dead letter's.
    public init?(_ headers: KafkaHeaders) {
        guard let origin = KafkaFailureOrigin(headers, Header.names) else { return nil }
        self.origin = origin
        self.attempts = headers[Header.attempts].flatMap { Int32(bigEndianBytes: $0) }.map { Int($0) }
    }

    /// The headers that say all this.
    var headers: KafkaHeaders {
        var headers = origin.headers(Header.names)
        headers.add(Header.attempts, attempts.map { KafkaBytes(Int32(clamping: $0).bigEndianBytes) })
        return headers
    }

    /// The dead letter of a message.
    ///
    /// - Parameters:
    ///   - origin: Where it was received from, whatever retry topics it went through since.
    ///   - headers: Its headers, which may say that it is a dead letter itself.
    ///   - topicName: The dead-letter topic of a topic.
    init(
        _ origin: MessageOrigin,
        _ headers: KafkaHeaders,
        group: String,
        error: any Error,
        topicName: (String) -> String
    ) {
        let failure = KafkaFailureOrigin(origin, group: group, error: error)
        let first = KafkaFailureOrigin(headers, Header.names, .first)
            .flatMap { Self.isLetterTopic(origin.topic, of: $0.originalTopic, topicName) ? $0 : nil }
        self.origin = first.map(failure.from) ?? failure
        // A process that died of it cannot say how often it was handed over; how many began with it is known.
        self.attempts = (error as? KafkaPoisonMessage)?.crashes ?? origin.attempts
    }

    /// Whether a topic is where dead letters of another go, or their dead letters, and so on. Headers alone do not say that a
    /// message is a dead letter: a service that forwards all headers copies them along.
    private static func isLetterTopic(
        _ topic: String,
        of original: String,
        _ topicName: (String) -> String
    ) -> Bool {
        var name = original
        for _ in 0..<8 {
            name = topicName(name)
            if name == topic { return true }
        }
        // Others name them as Spring Kafka does, now or formerly.
        var rest = topic[...]
        while let suffix = ["-dlt", ".DLT"].first(where: { rest.hasSuffix($0) }) {
            rest = rest.dropLast(suffix.count)
            if rest == original { return true }
        }
        return false
    }
}

extension KafkaConsumer.Delivery {
    /// Where the message comes from and why it was given up, where it is a dead letter.
    public var deadLetter: KafkaDeadLetter? {
        KafkaDeadLetter(headers)
    }
}
