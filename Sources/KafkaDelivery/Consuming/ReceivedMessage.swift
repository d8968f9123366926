internal import CRdKafka
internal import Synchronization

/// The owner of a received `rd_kafka_message_t`, and of the right to say what became of it.
///
/// Its bytes stay where librdkafka received them until somebody asks for a copy.
final class ReceivedMessage: @unchecked Sendable {
    // Sendable because a fetched message does not change, but for its headers, which are parsed on first use under
    // `headerLock`.
    private let raw: UnsafeMutablePointer<rd_kafka_message_t>
    // Keeps the client alive for as long as it has a message out: rd_kafka_destroy waits for all of them.
    private let client: RdKafkaClient
    private let headerLock = Mutex(())
    private let hasVerdict = Atomic(false)
    let reader: PartitionReader
    let sequence: OffsetTracker.Sequence

    init(
        _ raw: UnsafeMutablePointer<rd_kafka_message_t>,
        client: RdKafkaClient,
        reader: PartitionReader,
        sequence: OffsetTracker.Sequence
    ) {
        self.raw = raw
        self.client = client
        self.reader = reader
        self.sequence = sequence
    }

    deinit {
        rd_kafka_message_destroy(raw)
        if !hasVerdict.load(ordering: .relaxed) { reader.abandon(sequence) }
    }

    @discardableResult
    func acknowledge() -> KafkaConsumer.Verdict {
        hasVerdict.store(true, ordering: .relaxed)
        return reader.acknowledge(sequence)
    }

    var offset: Int64 { raw.pointee.offset }

    var key: UnsafeRawBufferPointer? {
        raw.pointee.key.map { UnsafeRawBufferPointer(start: $0, count: raw.pointee.key_len) }
    }

    var value: UnsafeRawBufferPointer? {
        raw.pointee.payload.map { UnsafeRawBufferPointer(start: $0, count: raw.pointee.len) }
    }

    var timestamp: (KafkaTimestamp, KafkaConsumer.Delivery.TimestampType)? {
        var type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
        let timestamp = KafkaTimestamp(millisecondsSince1970: rd_kafka_message_timestamp(raw, &type))
        return switch type {
        case RD_KAFKA_TIMESTAMP_CREATE_TIME: (timestamp, .created)
        case RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME: (timestamp, .appended)
        default: nil
        }
    }

    var headers: KafkaHeaders {
        headerLock.withLock { _ in
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
