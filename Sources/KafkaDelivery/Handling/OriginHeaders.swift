/// What headers say of where a message comes from and why it failed: those of dead letters and of retry topics, which
/// Spring Kafka has given different names and the same encodings.
struct OriginHeaders {
    /// What the headers are called.
    struct Names {
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

    var topic: String
    var partition: Int
    var offset: Int64
    var timestamp: KafkaTimestamp?
    var timestampType: KafkaConsumer.Delivery.TimestampType?
    var group: String?
    var exceptionType: String?
    var exceptionMessage: String?
}

extension OriginHeaders {
    /// Which of several headers of a name counts. Spring Kafka adds those of each place that a message failed in behind
    /// the ones before (`appendOriginalHeaders`).
    enum Place {
        case first
        case last
    }

    /// Reads headers; nil where those are missing that say which message it was.
    init?(_ headers: KafkaHeaders, _ names: Names, _ place: Place = .last) {
        func value(_ name: String) -> KafkaBytes? {
            place == .last ? headers[name] : headers.first { $0.name == name }?.value
        }
        guard let topic = value(names.topic)?.string,
            let partition = value(names.partition).flatMap({ Int32(bigEndianBytes: $0) }),
            let offset = value(names.offset).flatMap({ Int64(bigEndianBytes: $0) })
        else { return nil }
        self.topic = topic
        self.partition = Int(partition)
        self.offset = offset
        self.timestamp = value(names.timestamp)
            .flatMap { Int64(bigEndianBytes: $0) }
            .map { KafkaTimestamp(millisecondsSince1970: $0) }
        self.timestampType =
            switch value(names.timestampType)?.string {
            case "CreateTime": .created
            case "LogAppendTime": .appended
            default: nil
            }
        self.group = value(names.group)?.string
        self.exceptionType = value(names.exceptionType)?.string
        self.exceptionMessage = value(names.exceptionMessage)?.string
    }

    /// The headers that say all this.
    func headers(_ names: Names) -> KafkaHeaders {
        var headers: KafkaHeaders = [
            names.topic: KafkaBytes(topic),
            names.partition: KafkaBytes(Int32(truncatingIfNeeded: partition).bigEndianBytes),
            names.offset: KafkaBytes(offset.bigEndianBytes),
        ]
        headers.add(names.timestamp, timestamp.map { KafkaBytes($0.millisecondsSince1970.bigEndianBytes) })
        headers.add(names.timestampType, timestampType.map { $0 == .created ? "CreateTime" : "LogAppendTime" })
        headers.add(names.group, group.map { KafkaBytes($0) })
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
