/// What travels: a topic, a key, a value and headers.
///
/// ```swift
/// KafkaMessage(topic: "orders", key: "42", value: "three apples")          // text
/// KafkaMessage(topic: "orders", key: "42", value: bytes)                   // any bytes
/// try KafkaMessage(topic: "orders", key: "42", value: order)               // Encodable, as JSON
/// KafkaMessage(topic: "orders", key: "42", value: nil)                     // a tombstone
/// ```
public struct KafkaMessage: Sendable, Hashable {
    /// The topic's name.
    public var topic: String

    /// The partition to send to, or nil to let the key decide: with the Java client's murmur2 hash of the key, so
    /// that producers in either language agree; at random where there is no key.
    public var partition: Int?

    /// The key, or nil for none. An empty key is a key.
    public var key: KafkaBytes?

    /// The value, or nil for a tombstone, which makes a compacted topic forget the key. An empty value is a value.
    public var value: KafkaBytes?

    /// The headers, in order; names may repeat.
    public var headers: KafkaHeaders

    /// When it was made, or nil for the moment it is sent. Topics that are set to `LogAppendTime` ignore it.
    public var timestamp: KafkaTimestamp?

    /// A message from bytes.
    ///
    /// - Parameters:
    ///   - topic: The topic's name, not empty.
    ///   - partition: 0 or more; nil lets the key decide.
    ///   - key: Text or bytes; nil for none.
    ///   - value: Text or bytes; nil for a tombstone.
    ///   - headers: In order; names may repeat.
    ///   - timestamp: nil for the moment it is sent.
    public init(
        topic: String,
        partition: Int? = nil,
        key: (any KafkaBytesConvertible)? = nil,
        value: (any KafkaBytesConvertible)?,
        headers: KafkaHeaders = [],
        timestamp: KafkaTimestamp? = nil
    ) {
        self.topic = topic
        self.partition = partition
        self.key = key?.kafkaBytes
        self.value = value?.kafkaBytes
        self.headers = headers
        self.timestamp = timestamp
    }

    /// How many bytes the key, the value and the headers have together.
    var payloadCount: Int {
        (key?.count ?? 0) + (value?.count ?? 0) + headers.reduce(0) { $0 + $1.name.utf8.count + ($1.value?.count ?? 0) }
    }
}

/// One header: a name and a value, which may be null.
public struct KafkaHeader: Sendable, Hashable {
    /// The name; UTF-8, not necessarily unique in a message.
    public var name: String

    /// The value, or nil for null.
    public var value: KafkaBytes?

    /// A header.
    public init(_ name: String, _ value: (any KafkaBytesConvertible)?) {
        self.name = name
        self.value = value?.kafkaBytes
    }
}

/// The headers of a message (KIP-82): a list, in order, in which a name may occur more than once.
///
/// ```swift
/// var headers: KafkaHeaders = ["trace-id": "4bf92f35", "source": "checkout"]
/// headers.append(KafkaHeader("source", "web"))
/// headers["trace-id"]        // the last header of that name, as Kafka's own clients look them up
/// ```
public struct KafkaHeaders: Sendable, Hashable {
    private var list: [KafkaHeader]

    /// Headers in the order given.
    public init(_ headers: some Sequence<KafkaHeader>) {
        self.list = Array(headers)
    }

    /// The value of the last header with this name: nil where there is none, and where its value is null.
    public subscript(name: String) -> KafkaBytes? {
        last { $0.name == name }?.value
    }

    /// The values of all headers with this name, in order.
    public func all(_ name: String) -> [KafkaBytes?] {
        filter { $0.name == name }.map(\.value)
    }
}

extension KafkaHeaders: RandomAccessCollection, RangeReplaceableCollection, MutableCollection {
    /// No headers.
    public init() {
        self.list = []
    }

    /// 0.
    public var startIndex: Int { list.startIndex }

    /// How many there are.
    public var endIndex: Int { list.endIndex }

    /// The header at a position.
    public subscript(position: Int) -> KafkaHeader {
        get { list[position] }
        set { list[position] = newValue }
    }

    /// Replaces the headers at the given positions.
    public mutating func replaceSubrange(_ range: Range<Int>, with headers: some Collection<KafkaHeader>) {
        list.replaceSubrange(range, with: headers)
    }
}

extension KafkaHeaders: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral {
    /// `["name": "value"]`, in the order written; a name may be written twice.
    public init(dictionaryLiteral elements: (String, KafkaBytes?)...) {
        self.list = elements.map { KafkaHeader($0.0, $0.1) }
    }

    /// `[KafkaHeader("name", "value")]`.
    public init(arrayLiteral elements: KafkaHeader...) {
        self.list = elements
    }
}

/// A point in time as Kafka keeps it: milliseconds since 1970-01-01T00:00:00Z.
public struct KafkaTimestamp: Sendable, Hashable, Comparable {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    public var millisecondsSince1970: Int64

    /// A timestamp.
    public init(millisecondsSince1970: Int64) {
        self.millisecondsSince1970 = millisecondsSince1970
    }

    /// So much later, at most a hundred years.
    func advanced(by delay: Duration) -> KafkaTimestamp {
        let (seconds, attoseconds) = min(max(delay, .zero), .seconds(100 * 365 * 86_400)).components
        let (sum, isTooLate) =
            millisecondsSince1970
            .addingReportingOverflow(seconds * 1_000 + attoseconds / 1_000_000_000_000_000)
        return KafkaTimestamp(millisecondsSince1970: isTooLate ? .max : sum)
    }

    /// Earlier is less.
    public static func < (left: KafkaTimestamp, right: KafkaTimestamp) -> Bool {
        left.millisecondsSince1970 < right.millisecondsSince1970
    }
}
