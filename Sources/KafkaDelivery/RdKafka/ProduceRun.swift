internal import CRdKafka

/// Messages that one call hands to librdkafka (`rd_kafka_produce_batch`), which looks at the clock and locks the topic once for
/// all of them.
///
/// The call takes messages to one topic, without headers or times of their own, and wants all their bytes at once: which cannot
/// be lent all at once, and are copied together first. Where messages are small that is cheaper.
struct ProduceRun: ~Copyable {
    private static let maximumCount = 64
    /// As much as stays in a processor's first cache.
    private static let maximumByteCount = 8_192

    private let messages = UnsafeMutablePointer<rd_kafka_message_t>.allocate(capacity: Self.maximumCount)
    private let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.maximumByteCount, alignment: 16)
    private var usedByteCount = 0
    private(set) var count = 0

    deinit {
        messages.deallocate()
        bytes.deallocate()
    }

    /// Collects messages for the next call: from this one on, as many as go together.
    ///
    /// - Parameter opaque: What comes back with the delivery report of the message at an index.
    @inline(__always)
    mutating func collect(
        _ all: UnsafeBufferPointer<KafkaMessage>,
        from start: Int,
        opaque: (Int) -> UnsafeMutableRawPointer
    ) {
        (count, usedByteCount) = (0, 0)
        while count < Self.maximumCount, start + count < all.count,
            add(all[start + count], to: all[start].topic, opaque(start + count))
        {}
    }

    private mutating func add(_ message: KafkaMessage, to topic: String, _ opaque: UnsafeMutableRawPointer) -> Bool {
        guard message.partition == nil, message.timestamp == nil, message.headers.isEmpty, message.topic == topic,
            let key = copy(message.key), let value = copy(message.value)
        else { return false }
        (messages + count).initialize(
            to: rd_kafka_message_t(
                err: RD_KAFKA_RESP_ERR_NO_ERROR,
                rkt: nil,
                partition: RD_KAFKA_PARTITION_UA,
                payload: value.baseAddress,
                len: value.count,
                key: key.baseAddress,
                key_len: key.count,
                offset: 0,
                _private: opaque
            )
        )
        count += 1
        return true
    }

    /// The copy has no address where there are no bytes (null); nil where there is no room for it.
    private mutating func copy(_ source: KafkaBytes?) -> UnsafeMutableRawBufferPointer? {
        guard let source else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        return source.withUnsafeBytes { source in
            // One byte is left over, so that what is empty has an address too.
            guard source.count < Self.maximumByteCount - usedByteCount else { return nil }
            let copy = UnsafeMutableRawBufferPointer(rebasing: bytes[usedByteCount..<usedByteCount + source.count])
            copy.copyMemory(from: source)
            usedByteCount += source.count
            return copy
        }
    }

    /// Hands them to librdkafka, which copies them.
    ///
    /// - Returns: Whether it took all of them.
    func produce(to topic: RdKafkaTopic) -> Bool {
        rd_kafka_produce_batch(topic.raw, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, messages, Int32(count)) == count
    }

    /// What became of one of them. After one that found no room (`RD_KAFKA_RESP_ERR__QUEUE_FULL`) none is taken.
    subscript(_ index: Int) -> RdKafkaCode { RdKafkaCode(messages[index].err) }
}
