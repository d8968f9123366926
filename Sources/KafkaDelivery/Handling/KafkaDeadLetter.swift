/// Where a dead letter comes from and why it was given up, read from its headers.
///
/// The headers have the names and encodings that Spring Kafka's `DeadLetterPublishingRecoverer` uses, so that either
/// reads the other's. A message has them once: those of an earlier dead letter are replaced. Where the message that failed
/// was itself a dead letter, in the dead-letter topic of its original, what is said of the original stays said of that one,
/// and the error and the attempts are the new ones. Anywhere else, such headers were merely copied along, and the message
/// that failed is the original. (Of Spring Kafka's two ways, `appendOriginalHeaders = false` is like this; where it wrote
/// several headers of a name, the first belongs to the first original, and is what is kept, and the last is what is read here.)
public struct KafkaDeadLetter: Sendable, Hashable {
    /// The topic that the message was received from.
    public var originalTopic: String

    /// The partition that it was received from.
    public var originalPartition: Int

    /// Its offset there.
    public var originalOffset: Int64

    /// Its timestamp there. The dead letter's own is that of its sending, so that its topic's retention counts from then.
    public var originalTimestamp: KafkaTimestamp?

    /// Who set that timestamp.
    public var originalTimestampType: KafkaConsumer.Delivery.TimestampType?

    /// The group that gave it up; that of the original, where a dead letter was given up once more.
    public var originalConsumerGroup: String?

    /// The type of the last error.
    public var exceptionType: String?

    /// What the last error said.
    public var exceptionMessage: String?

    /// How many times it was handed over before it was given up.
    public var attempts: Int?
}

extension KafkaDeadLetter {
    enum Header {
        static let names = OriginHeaders.Names(prefix: "kafka_dlt-")
        static let attempts = "kafka_deliveryAttempt"

        /// Whether a header says that a message is a dead letter, and why, here or in Spring Kafka: it says more of
        /// exceptions, their stack traces for instance.
        static func isOurs(_ name: String) -> Bool {
            name.hasPrefix("kafka_dlt-") || name == attempts
        }
    }

    /// The longest error text that goes into a header, in bytes: the dead letter has to stay below the topic's limit.
    static let maximumMessageBytes = 4_096

    /// Reads the headers; nil where they are not a dead letter's.
    public init?(_ headers: KafkaHeaders) {
        guard let origin = OriginHeaders(headers, Header.names) else { return nil }
        self.originalTopic = origin.topic
        self.originalPartition = origin.partition
        self.originalOffset = origin.offset
        self.originalTimestamp = origin.timestamp
        self.originalTimestampType = origin.timestampType
        self.originalConsumerGroup = origin.group
        self.exceptionType = origin.exceptionType
        self.exceptionMessage = origin.exceptionMessage
        self.attempts = headers[Header.attempts].flatMap { Int32(bigEndianBytes: $0) }.map { Int($0) }
    }

    /// The headers that say all this.
    var headers: KafkaHeaders {
        let origin = OriginHeaders(
            topic: originalTopic,
            partition: originalPartition,
            offset: originalOffset,
            timestamp: originalTimestamp,
            timestampType: originalTimestampType,
            group: originalConsumerGroup,
            exceptionType: exceptionType,
            exceptionMessage: exceptionMessage
        )
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
        let first = OriginHeaders(headers, Header.names, .first)
            .flatMap { Self.isLetterTopic(origin.topic, of: $0.topic, topicName) ? $0 : nil }
        self.originalTopic = first?.topic ?? origin.topic
        self.originalPartition = first?.partition ?? origin.partition
        self.originalOffset = first?.offset ?? origin.offset
        self.originalTimestamp = first == nil ? origin.timestamp : first?.timestamp
        self.originalTimestampType = first == nil ? origin.timestampType : first?.timestampType
        self.originalConsumerGroup = first == nil ? (group.isEmpty ? nil : group) : first?.group
        self.exceptionType = String(reflecting: type(of: error))
        self.exceptionMessage = String(describing: error).shortened(toBytes: Self.maximumMessageBytes)
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

extension FixedWidthInteger {
    /// As Java's `ByteBuffer` writes it.
    var bigEndianBytes: [UInt8] {
        withUnsafeBytes(of: bigEndian) { Array($0) }
    }

    /// As Java's `ByteBuffer` reads it; nil where the number of bytes is another.
    init?(bigEndianBytes bytes: KafkaBytes) {
        guard bytes.count == Self.bitWidth / 8 else { return nil }
        self = bytes.array.reduce(0) { $0 << 8 | Self(truncatingIfNeeded: $1) }
    }
}

extension String {
    /// At most so many bytes of UTF-8, cut between characters.
    func shortened(toBytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var end = utf8.index(utf8.startIndex, offsetBy: limit - 3)
        while end > startIndex, String.Index(end, within: self) == nil { end = utf8.index(before: end) }
        return self[..<end] + "…"
    }
}

extension KafkaConsumer.Delivery {
    /// Where the message comes from and why it was given up, where it is a dead letter.
    public var deadLetter: KafkaDeadLetter? {
        KafkaDeadLetter(headers)
    }
}
