/// Where a message of a retry topic comes from and when it is due, read from its headers.
///
/// The headers have the names and encodings of Spring Kafka's non-blocking retries, so that either reads the other's.
@dynamicMemberLookup
public struct KafkaRetriedMessage: Sendable, Hashable {
    /// Where it comes from and why it failed. Its members are this one's too: `retried.originalTopic`.
    public var origin: KafkaFailureOrigin

    /// Which attempt this is, counted over all topics: 2 in the first retry topic, where each tries once.
    public var attempt: Int

    /// When it is to be handed over again, at the earliest.
    public var due: KafkaTimestamp?

    /// The members of ``origin``.
    public subscript<Value>(dynamicMember member: WritableKeyPath<KafkaFailureOrigin, Value>) -> Value {
        get { origin[keyPath: member] }
        set { origin[keyPath: member] = newValue }
    }
}

extension KafkaRetriedMessage {
    enum Header {
        static let names = KafkaFailureOrigin.Names(prefix: "kafka_")
        static let attempts = "retry_topic-attempts"
        static let firstTimestamp = "retry_topic-original-timestamp"
        static let due = "retry_topic-backoff-timestamp"

        /// Whether a header says that a message was put into a retry topic, and why, here or in Spring Kafka: it says more
        /// of exceptions, their stack traces for instance.
        static func isOurs(_ name: String) -> Bool {
            ["kafka_original-", "kafka_exception-", "retry_topic-"].contains { name.hasPrefix($0) }
        }
    }

    /// Reads the headers; nil where they are not those of a message in a retry topic.
    public init?(_ headers: KafkaHeaders) {
        guard var origin = KafkaFailureOrigin(headers, Header.names),
            let attempt = headers[Header.attempts].flatMap({ Self.attempt($0) })
        else { return nil }
        origin.originalTimestamp =
            origin.originalTimestamp
            ?? headers[Header.firstTimestamp]
            .flatMap { Int64(signedBytes: $0) }
            .map { KafkaTimestamp(millisecondsSince1970: $0) }
        self.origin = origin
        self.attempt = attempt
        self.due = headers[Header.due]
            .flatMap { Int64(signedBytes: $0) }
            .map { KafkaTimestamp(millisecondsSince1970: $0) }
    }

    /// Four bytes, or the one that older versions wrote.
    private static func attempt(_ bytes: KafkaBytes) -> Int? {
        let number = bytes.count == 1 ? bytes.array.first.map { Int($0) } : Int32(bigEndianBytes: bytes).map { Int($0) }
        return number.flatMap { $0 >= 1 ? $0 : nil }
    }

    /// The headers that say all this.
    var headers: KafkaHeaders {
        var headers = origin.headers(Header.names)
        headers.add(Header.attempts, KafkaBytes(Int32(clamping: attempt).bigEndianBytes))
        headers.add(
            Header.firstTimestamp,
            origin.originalTimestamp.map { KafkaBytes($0.millisecondsSince1970.signedBytes) }
        )
        headers.add(Header.due, due.map { KafkaBytes($0.millisecondsSince1970.signedBytes) })
        return headers
    }
}

extension Int64 {
    /// As Java's `BigInteger` writes it: as few bytes as hold the number and its sign, the most significant first.
    var signedBytes: [UInt8] {
        var bytes = bigEndianBytes[...]
        while bytes.count > 1, let first = bytes.first, let second = bytes.dropFirst().first,
            (first == 0 && second < 0x80) || (first == 0xFF && second >= 0x80)
        {
            bytes.removeFirst()
        }
        return Array(bytes)
    }

    /// As Java's `BigInteger` reads it; nil where it does not fit, or there is nothing.
    init?(signedBytes bytes: KafkaBytes) {
        let bytes = bytes.array
        guard (1...8).contains(bytes.count), let first = bytes.first else { return nil }
        self = bytes.reduce(first >= 0x80 ? -1 : 0) { $0 << 8 | Int64($1) }
    }
}

extension KafkaConsumer.Delivery {
    /// Where the message comes from, where it was put into a retry topic.
    public var retried: KafkaRetriedMessage? {
        KafkaRetriedMessage(headers)
    }
}
