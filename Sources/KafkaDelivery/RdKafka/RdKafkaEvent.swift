internal import CRdKafka
internal import Logging

/// One of librdkafka's events, owned: what it lends (messages, lists, strings) is gone when it is.
struct RdKafkaEvent: ~Copyable {
    private let handle: OwnedHandle

    init(_ raw: OpaquePointer) {
        self.handle = OwnedHandle(raw, destroy: rd_kafka_event_destroy)
    }

    enum Kind {
        case deliveryReports
        case log
        case error
        case rebalance
        case commitResult
        case message
        case other
    }

    var kind: Kind {
        switch rd_kafka_event_type(handle.raw) {
        case RD_KAFKA_EVENT_DR: .deliveryReports
        case RD_KAFKA_EVENT_LOG: .log
        case RD_KAFKA_EVENT_ERROR: .error
        case RD_KAFKA_EVENT_REBALANCE: .rebalance
        case RD_KAFKA_EVENT_OFFSET_COMMIT: .commitResult
        case RD_KAFKA_EVENT_FETCH: .message
        default: .other
        }
    }

    private var errorCode: rd_kafka_resp_err_t {
        rd_kafka_event_error(handle.raw)
    }

    /// Whether a rebalance assigns partitions; otherwise it takes them back.
    var isAssignment: Bool { errorCode == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS }

    /// What went wrong, where something did.
    var error: KafkaError? {
        let code = errorCode
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return nil }
        return KafkaError(code, reason: rd_kafka_event_error_string(handle.raw).map { String(cString: $0) })
    }

    /// Whether the error makes the client useless (`rd_kafka_event_error_is_fatal`).
    var isFatal: Bool {
        rd_kafka_event_error_is_fatal(handle.raw) != 0
    }

    /// How many reports the event carries.
    var reportCount: Int {
        rd_kafka_event_message_count(handle.raw)
    }

    /// The next delivery report, lent until the event is destroyed.
    func nextReport() -> RdKafkaReport? {
        rd_kafka_event_message_next(handle.raw).map { RdKafkaReport(raw: $0) }
    }

    /// The partitions of a rebalance or of a commit result.
    var partitions: [PartitionOffset] {
        rd_kafka_event_topic_partition_list(handle.raw).map { [PartitionOffset]($0) } ?? []
    }

    /// What was passed along with a commit.
    var opaque: UInt {
        UInt(bitPattern: rd_kafka_event_opaque(handle.raw))
    }

    /// Writes librdkafka's log line to the user's logger.
    func log(to logger: Logger) {
        var facility: UnsafePointer<CChar>?
        var text: UnsafePointer<CChar>?
        var severity: Int32 = 0
        guard rd_kafka_event_log(handle.raw, &facility, &text, &severity) == 0, let text else { return }
        logger.log(
            librdkafka: String(cString: text),
            facility.map { String(cString: $0) } ?? "",
            severity: severity
        )
    }
}
