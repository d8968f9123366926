internal import CRdKafka

/// A message that librdkafka fetched, or what it says of a partition instead. Its only owner, which destroys it.
struct RdKafkaMessage: ~Copyable, @unchecked Sendable {
    // Sendable because it has one owner, which may be another task than the one that read it, and librdkafka lets any thread destroy
    // a message.
    let view: View

    init(_ raw: UnsafeMutablePointer<rd_kafka_message_t>) {
        view = View(raw: raw)
    }

    deinit {
        rd_kafka_message_destroy(view.raw)
    }

    /// What a message says, for as long as its owner is there.
    struct View: @unchecked Sendable {
        // Sendable because librdkafka has no thread that changes a message after it is in the queue. Reading the headers does
        // (`rd_kafka_message_headers` parses them on first use), so `headers` leaves it to its caller to let one thread ask at a time.
        fileprivate let raw: UnsafeMutablePointer<rd_kafka_message_t>

        fileprivate init(raw: UnsafeMutablePointer<rd_kafka_message_t>) {
            self.raw = raw
        }

        /// Whether it is a message, and not an error instead.
        var isMessage: Bool { raw.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR }

        /// Whether everything that the partition holds was fetched (`enable.partition.eof`); its offset is where that ends.
        var isPartitionEnd: Bool { raw.pointee.err == RD_KAFKA_RESP_ERR__PARTITION_EOF }

        /// What librdkafka says instead of a message.
        func error(of partition: KafkaTopicPartition) -> KafkaError {
            let code = raw.pointee.err
            let text = rd_kafka_message_errstr(raw).map { String(cString: $0) } ?? code.text
            return KafkaError(code, reason: "\(partition): \(text)")
        }

        var offset: Int64 { raw.pointee.offset }

        /// How many bytes key and value have.
        var size: Int { raw.pointee.len + raw.pointee.key_len }

        var key: UnsafeRawBufferPointer? {
            raw.pointee.key.map { UnsafeRawBufferPointer(start: $0, count: raw.pointee.key_len) }
        }

        var value: UnsafeRawBufferPointer? {
            raw.pointee.payload.map { UnsafeRawBufferPointer(start: $0, count: raw.pointee.len) }
        }

        /// Its timestamp, and whether the broker has set it (`LogAppendTime`); nil where it has none.
        var timestamp: (KafkaTimestamp, isAppendTime: Bool)? {
            var type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
            let timestamp = KafkaTimestamp(millisecondsSince1970: rd_kafka_message_timestamp(raw, &type))
            return switch type {
            case RD_KAFKA_TIMESTAMP_CREATE_TIME: (timestamp, false)
            case RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME: (timestamp, true)
            default: nil
            }
        }

        /// Its headers. librdkafka keeps the parsed headers in the message: one thread at a time may ask.
        var headers: KafkaHeaders {
            var list: OpaquePointer?
            guard rd_kafka_message_headers(raw, &list) == RD_KAFKA_RESP_ERR_NO_ERROR, let list else { return [] }
            var headers: KafkaHeaders = []
            var name: UnsafePointer<CChar>?
            var value: UnsafeRawPointer?
            var count = 0
            while rd_kafka_header_get_all(list, headers.count, &name, &value, &count) == RD_KAFKA_RESP_ERR_NO_ERROR,
                let name
            {
                let bytes = value.map { KafkaBytes(UnsafeRawBufferPointer(start: $0, count: count)) }
                headers.append(KafkaHeader(String(cString: name), bytes))
            }
            return headers
        }
    }
}

extension LeaderEpoch {
    /// A message's leader epoch; -1 where the broker did not say it, or this librdkafka has no such function.
    func callAsFunction(_ message: RdKafkaMessage.View) -> Int32 {
        function?(message.raw) ?? -1
    }
}
