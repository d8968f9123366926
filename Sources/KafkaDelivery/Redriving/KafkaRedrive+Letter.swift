extension KafkaRedrive {
    /// A message of the dead-letter topic.
    public struct Letter: Sendable, Hashable {
        /// Its partition of the dead-letter topic.
        public let partition: Int

        /// Its offset there.
        public let offset: Int64

        /// Everything that it says, as it is in the dead-letter topic.
        public let message: KafkaMessage

        /// Where it comes from and why it was given up; nil where it is no dead letter.
        public let deadLetter: KafkaDeadLetter?

        /// How often it was redriven before.
        public let redriveCount: Int

        /// When the original message was made or stored, however often it was redriven since; where no header says so, the
        /// time of the letter.
        public var originalTimestamp: KafkaTimestamp? { knownOriginalTimestamp ?? message.timestamp }

        /// An earlier replay knows the time of the first original, and the dead letter only that of the replay. A header that
        /// names a later time than the letter does is not of an earlier replay.
        fileprivate var knownOriginalTimestamp: KafkaTimestamp? {
            let known = message.headers[KafkaRedrive.originalTimestampHeader]
                .flatMap { Int64(bigEndianBytes: $0) }
                .map { KafkaTimestamp(millisecondsSince1970: $0) }
            guard let stated = deadLetter?.originalTimestamp else { return known }
            return known.map { min($0, stated) } ?? stated
        }
    }

    /// What became of a message of the dead-letter topic.
    public enum Outcome: Sendable, Hashable {
        /// It was sent again, and the broker has confirmed that.
        case redriven(KafkaDeliveryReport)
        /// A preview: it would be sent to this topic.
        case selected(topic: String)
        /// It stays, for a later run.
        case left(Reason)
        /// The producer or the brokers refuse its replay, and would again: it is too large for them, or its original topic is
        /// none. It stays, and the run goes on.
        case refused(KafkaError)
        /// Its replay was not confirmed. It stays, and the run ends.
        case failed(KafkaError)
    }

    /// Why a message was left.
    public enum Reason: String, Sendable, Hashable {
        /// The filter does not select it.
        case filtered
        /// It has no headers of a dead letter.
        case notADeadLetter
        /// It was redriven as often as is allowed.
        case redrivenTooOften
        /// It came from the dead-letter topic, and would return there.
        case wouldReturn
    }

    /// The header that says how often a message was redriven: 4 bytes, big-endian, like Spring Kafka's numbers.
    public static let redriveCountHeader = "kafka_delivery-redrive-count"

    /// The header that says when the original of a replay was made or stored: milliseconds since 1970-01-01T00:00:00Z in 8
    /// bytes, big-endian, like Spring Kafka's. It is of the replay alone: what copies a message's headers to messages of its own
    /// had better leave it out, and ``redriveCountHeader`` too. A time later than that of the message is not believed.
    public static let originalTimestampHeader = "kafka_delivery-original-timestamp"
}

extension KafkaRedrive.Letter {
    init(_ delivery: KafkaConsumer.Delivery) {
        self.init(partition: delivery.partition, offset: delivery.offset, message: delivery.message)
    }

    init(partition: Int, offset: Int64, message: KafkaMessage) {
        self.partition = partition
        self.offset = offset
        self.message = message
        self.deadLetter = KafkaDeadLetter(message.headers)
        self.redriveCount =
            message.headers[KafkaRedrive.redriveCountHeader]
            .flatMap { Int32(bigEndianBytes: $0) }
            .map { max(Int($0), 0) } ?? 0
    }

    /// Where the letter is to be sent, or why it is left.
    func decide(_ configuration: KafkaRedrive.Configuration) -> Result<String, KafkaRedrive.Left> {
        if !configuration.filter.mayContain(offset: offset, partition: partition) { return .failure(.init(.filtered)) }
        guard let deadLetter else { return .failure(.init(.notADeadLetter)) }
        guard configuration.filter.selects(self, deadLetter) else { return .failure(.init(.filtered)) }
        guard redriveCount < configuration.maximumRedrives else { return .failure(.init(.redrivenTooOften)) }
        let destination = configuration.destination ?? deadLetter.originalTopic
        guard destination != configuration.topic else { return .failure(.init(.wouldReturn)) }
        return .success(destination)
    }

    /// The message to send.
    func replay(to topic: String, _ timestamps: KafkaRedrive.Configuration.Timestamps) -> KafkaMessage {
        var replay = message
        replay.topic = topic
        // Those of the same key belong together, wherever that is now; without a key there is only where it was.
        replay.partition = message.key == nil ? deadLetter?.originalPartition : nil
        if let partition = replay.partition, partition < 0 { replay.partition = nil }
        replay.headers.removeAll { header in
            // Retry topics count attempts in theirs. A replay begins anew.
            KafkaDeadLetter.Header.isOurs(header.name) || KafkaRetriedMessage.Header.isOurs(header.name)
                || [KafkaRedrive.redriveCountHeader, KafkaRedrive.originalTimestampHeader].contains(header.name)
        }
        replay.headers.add(
            KafkaRedrive.originalTimestampHeader,
            knownOriginalTimestamp.map { KafkaBytes($0.millisecondsSince1970.bigEndianBytes) }
        )
        let count = Int32(clamping: redriveCount + 1)
        replay.headers.append(KafkaHeader(KafkaRedrive.redriveCountHeader, count.bigEndianBytes))
        replay.timestamp = timestamps == .original ? originalTimestamp : nil
        // A message from before timestamps, or with one that Kafka does not take back, gets a new one.
        if let timestamp = replay.timestamp, timestamp.millisecondsSince1970 < 1 { replay.timestamp = nil }
        return replay
    }
}

extension KafkaRedrive {
    /// A reason to leave a letter, as the failure of a decision.
    struct Left: Error {
        let reason: Reason

        init(_ reason: Reason) {
            self.reason = reason
        }
    }
}

extension KafkaRedrive.Filter {
    /// What can be said without the message.
    func mayContain(offset: Int64, partition: Int) -> Bool {
        (partitions?.contains(partition) ?? true) && (offsets?.contains(offset) ?? true)
    }

    func selects(_ letter: KafkaRedrive.Letter, _ deadLetter: KafkaDeadLetter) -> Bool {
        if let error {
            let texts = [deadLetter.exceptionType, deadLetter.exceptionMessage].compactMap(\.self)
            guard texts.contains(where: { $0.contains(error) }) else { return false }
        }
        guard headers.allSatisfy({ letter.message.headers.contains($0) }) else { return false }
        if since != nil || until != nil {
            guard let time = letter.originalTimestamp else { return false }
            if let since, time < since { return false }
            if let until, time >= until { return false }
        }
        return predicate?(letter) ?? true
    }
}

extension KafkaRedrive.Letter: CustomStringConvertible {
    /// Where it is and where it came from: `orders-dlt [3] at 42, from orders [3] at 7`.
    public var description: String {
        let origin = deadLetter.map { ", from \($0.originalTopic) [\($0.originalPartition)] at \($0.originalOffset)" }
        return "\(message.topic) [\(partition)] at \(offset)" + (origin ?? "")
    }
}
