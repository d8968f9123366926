internal import DeliveryCore

/// Where a message comes from and why it failed: what dead letters and messages of retry topics say alike in their headers, to
/// which Spring Kafka has given different names and the same encodings. ``KafkaDeadLetter`` and ``KafkaRetriedMessage`` have all of
/// it as members of their own.
public struct KafkaFailureOrigin: Sendable, Hashable {
    /// What the headers are called.
    struct Names: Sendable {
        let topic: String
        let partition: String
        let offset: String
        let timestamp: String
        let timestampType: String
        let group: String
        let exceptionType: String
        let exceptionMessage: String

        init(prefix: String) {
            self.topic = prefix + "original-topic"
            self.partition = prefix + "original-partition"
            self.offset = prefix + "original-offset"
            self.timestamp = prefix + "original-timestamp"
            self.timestampType = prefix + "original-timestamp-type"
            self.group = prefix + "original-consumer-group"
            self.exceptionType = prefix + "exception-fqcn"
            self.exceptionMessage = prefix + "exception-message"
        }
    }

    /// The topic that the message was received from first: before any retry topic, and before any dead-letter topic where a dead letter was
    /// given up once more.
    public var originalTopic: String

    /// The partition that it was received from there.
    public var originalPartition: Int

    /// Its offset there.
    public var originalOffset: Int64

    /// Its timestamp there. The copy's own is that of its sending, so that its topic's retention counts from then.
    public var originalTimestamp: KafkaTimestamp?

    /// Who set that timestamp.
    public var originalTimestampType: KafkaConsumer.Delivery.TimestampType?

    /// The group that it failed in; that of the original, where a dead letter was given up once more.
    public var originalConsumerGroup: String?

    /// The type of the last error.
    public var exceptionType: String?

    /// What the last error said.
    public var exceptionMessage: String?
}

extension KafkaFailureOrigin {
    /// The longest error text that goes into a header, in bytes: the copy has to stay below its topic's limit.
    static let maximumMessageBytes = 4_096

    /// A message that has failed with an error.
    init(_ origin: MessageOrigin, group: String, error: any Error) {
        self.originalTopic = origin.topic
        self.originalPartition = origin.partition
        self.originalOffset = origin.offset
        self.originalTimestamp = origin.timestamp
        self.originalTimestampType = origin.timestampType
        self.originalConsumerGroup = group.isEmpty ? nil : group
        self.exceptionType = String(reflecting: type(of: error))
        self.exceptionMessage = String(describing: error).shortened(toBytes: Self.maximumMessageBytes)
    }

    /// The same failure of a message that was somewhere else first.
    func from(_ first: KafkaFailureOrigin) -> KafkaFailureOrigin {
        var result = first
        result.exceptionType = exceptionType
        result.exceptionMessage = exceptionMessage
        return result
    }

    /// Which of several headers of a name counts. Spring Kafka adds those of each topic that a message failed in behind
    /// the ones before (`appendOriginalHeaders`).
    enum Occurrence {
        case first
        case last
    }

    /// Reads headers; nil where those are missing that say which message it was.
    init?(_ headers: KafkaHeaders, _ names: Names, _ occurrence: Occurrence = .last) {
        func value(_ name: String) -> KafkaBytes? {
            occurrence == .last ? headers[name] : headers.first { $0.name == name }?.value
        }
        guard let topic = value(names.topic)?.string,
            let partition = value(names.partition).flatMap({ Int32(bigEndianBytes: $0) }),
            let offset = value(names.offset).flatMap({ Int64(bigEndianBytes: $0) })
        else { return nil }
        self.originalTopic = topic
        self.originalPartition = Int(partition)
        self.originalOffset = offset
        self.originalTimestamp = value(names.timestamp)
            .flatMap { Int64(bigEndianBytes: $0) }
            .map { KafkaTimestamp(millisecondsSince1970: $0) }
        self.originalTimestampType =
            switch value(names.timestampType)?.string {
            case "CreateTime": .created
            case "LogAppendTime": .appended
            default: nil
            }
        self.originalConsumerGroup = value(names.group)?.string
        self.exceptionType = value(names.exceptionType)?.string
        self.exceptionMessage = value(names.exceptionMessage)?.string
    }

    /// The headers that say all this.
    func headers(_ names: Names) -> KafkaHeaders {
        var headers: KafkaHeaders = [
            names.topic: KafkaBytes(originalTopic),
            names.partition: KafkaBytes(Int32(truncatingIfNeeded: originalPartition).bigEndianBytes),
            names.offset: KafkaBytes(originalOffset.bigEndianBytes),
        ]
        headers.add(names.timestamp, originalTimestamp.map { KafkaBytes($0.millisecondsSince1970.bigEndianBytes) })
        headers.add(names.timestampType, originalTimestampType.map { $0 == .created ? "CreateTime" : "LogAppendTime" })
        headers.add(names.group, originalConsumerGroup.map { KafkaBytes($0) })
        headers.add(names.exceptionType, exceptionType.map { KafkaBytes($0) })
        headers.add(names.exceptionMessage, exceptionMessage.map { KafkaBytes($0) })
        return headers
    }
}

extension KafkaHeaders {
    /// Adds a header, where there is something to say.
    mutating func add(_ name: String, _ value: KafkaBytes?) {
        if let value { append(KafkaHeader(name, value)) }
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
