extension KafkaConsumer {
    /// One attempt to hand a received message to the application, which says what became of it.
    ///
    /// A delivery can be copied, stored and passed to other tasks; its verdict can be given once, from anywhere, in any
    /// order with others. One that is let go of without a verdict is never committed, and the message is delivered
    /// again to the consumer that reads the partition next.
    public struct Delivery: Sendable {
        /// Who set the timestamp.
        public enum TimestampType: String, Sendable, Hashable {
            /// The sender (`message.timestamp.type=CreateTime`).
            case created
            /// The broker, when it stored the message (`received.timestamp.type=LogAppendTime`).
            case appended
        }

        @usableFromInline
        enum Content: Sendable {
            case received(ReceivedMessage)
            case made(MadeDelivery)
        }

        @usableFromInline let content: Content

        init(_ received: ReceivedMessage) {
            content = .received(received)
        }

        /// A delivery that no consumer has received.
        package init(made: MadeDelivery) {
            content = .made(made)
        }

        /// What a consumer has received; nil of a delivery that was made by hand.
        var received: ReceivedMessage? {
            switch content {
            case .received(let received): received
            case .made: nil
            }
        }

        /// Its partition.
        package var topicPartition: KafkaTopicPartition {
            switch content {
            case .received(let received): received.reader.partition
            case .made(let made): made.partition
            }
        }

        /// Hands out nothing more of its partition, whose loops end with the error, before that is sought or assigned anew.
        package func failPartition(_ error: KafkaError) {
            received?.reader.fail(error)
        }

        /// Whether this attempt has its verdict.
        var hasVerdict: Bool {
            switch content {
            case .received(let received): received.hasVerdict
            case .made(let made): made.verdict != nil
            }
        }

        // MARK: Where it comes from

        /// The topic.
        public var topic: String { topicPartition.topic }

        /// The partition.
        public var partition: Int { topicPartition.partition }

        /// The message's offset in the partition.
        public var offset: Int64 {
            switch content {
            case .received(let received): received.offset
            case .made(let made): made.offset
            }
        }

        /// In which period of owning the partition it was delivered: counted from 1 in the life of the consumer, one
        /// for each assignment. A verdict counts only within its generation.
        public var generation: Int {
            switch content {
            case .received(let received): received.reader.generation
            case .made(let made): made.generation
            }
        }

        /// How many times the message was handed over in this generation, from 1.
        public var attempt: Int {
            switch content {
            case .received(let received): received.attempt
            case .made(let made): made.attempt
            }
        }

        /// How many processes died while they handled this message, where ``Configuration/maximumCrashes`` is set and it was found
        /// to be what kills them; nil for all others.
        public var crashes: Int? {
            switch content {
            case .received(let received): received.fatalCrashes
            case .made(let made): made.crashes
            }
        }

        // MARK: What it says

        /// When the message was made or stored; nil for messages from before Kafka 0.10.
        public var timestamp: KafkaTimestamp? {
            switch content {
            case .received(let received): received.timestamp?.0
            case .made(let made): made.message.timestamp
            }
        }

        /// Who set the timestamp.
        public var timestampType: TimestampType? {
            switch content {
            case .received(let received): received.timestamp?.1
            case .made(let made): made.isAppendTime.map { $0 ? .appended : .created }
            }
        }

        /// A copy of the key's bytes; nil where there is no key.
        public var key: KafkaBytes? {
            switch content {
            case .received(let received): received.key.map { KafkaBytes($0) }
            case .made(let made): made.message.key
            }
        }

        /// A copy of the value's bytes; nil for a tombstone.
        public var value: KafkaBytes? {
            switch content {
            case .received(let received): received.value.map { KafkaBytes($0) }
            case .made(let made): made.message.value
            }
        }

        /// The headers, in order.
        public var headers: KafkaHeaders {
            switch content {
            case .received(let received): received.headers
            case .made(let made): made.message.headers
            }
        }

        /// A copy of everything that was sent, its ``timestamp`` too. To send it on to another topic, set that to nil: the
        /// topic's retention counts from it.
        public var message: KafkaMessage {
            KafkaMessage(
                topic: topic,
                partition: partition,
                key: key,
                value: value,
                headers: headers,
                timestamp: timestamp
            )
        }

        /// Lends the key's bytes, without copying them; nil where there is no key.
        @inlinable
        public func withKey<Result>(_ body: (RawSpan?) throws -> Result) rethrows -> Result {
            switch content {
            case .received(let received): try withExtendedLifetime(received) { try body(received.key?.bytes) }
            case .made(let made): try withExtendedLifetime(made) { try body(made.key?.bytes) }
            }
        }

        /// Lends the value's bytes, without copying them; nil for a tombstone.
        @inlinable
        public func withValue<Result>(_ body: (RawSpan?) throws -> Result) rethrows -> Result {
            switch content {
            case .received(let received): try withExtendedLifetime(received) { try body(received.value?.bytes) }
            case .made(let made): try withExtendedLifetime(made) { try body(made.value?.bytes) }
            }
        }

        // MARK: What becomes of it

        /// Says that the message is finished.
        ///
        /// Cannot fail and does not wait: the offset is committed soon after, together with others, and only once every
        /// message delivered before it in the partition is finished too. ``KafkaConsumer/commit()`` waits for it. After
        /// the partition was revoked it changes nothing, and the message is delivered again to the partition's next
        /// owner. Saying it again changes nothing.
        public func acknowledge() {
            switch content {
            case .received(let received): received.acknowledge()
            case .made(let made): made.give(.acknowledged)
            }
        }

        /// Says that handling the message failed: it is handed over again, with ``attempt`` increased, before anything
        /// later of its partition that was not handed out yet. Of several that failed the earliest comes first, whatever
        /// their delays.
        ///
        /// Cannot fail and does not wait. Until the delay is over nothing of the partition is handed out; the others go
        /// on, the partition stays assigned, and nothing is fetched again. The first verdict counts: one that contradicts
        /// it is reported (``Event/contradictingVerdict(_:)``). After the partition was revoked it changes
        /// nothing.
        ///
        /// - Parameters:
        ///   - error: Why, for the log.
        ///   - delay: How long to hold the message back.
        public func negativelyAcknowledge(_ error: (any Error)? = nil, after delay: Duration = .zero) {
            reject(error, after: delay, holdingPartition: true)
        }

        func reject(_ error: (any Error)?, after delay: Duration, holdingPartition: Bool) {
            switch content {
            case .received(let received):
                received.reader.noteRejection(self, error, delay)
                received.reject(after: delay, holdingPartition: holdingPartition)
            case .made(let made):
                made.give(.rejected(error, after: delay))
            }
        }
    }
}

extension KafkaConsumer.Delivery: CustomStringConvertible {
    /// Where the message is: `orders [3] at 42`.
    public var description: String {
        "\(topicPartition) at \(offset)"
    }
}
