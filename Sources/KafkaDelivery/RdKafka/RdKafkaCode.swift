internal import CRdKafka

/// What librdkafka answered to a call (`rd_kafka_resp_err_t`), for folders that do not know C.
struct RdKafkaCode: Equatable {
    let raw: rd_kafka_resp_err_t

    init(_ raw: rd_kafka_resp_err_t) {
        self.raw = raw
    }

    static let success = RdKafkaCode(RD_KAFKA_RESP_ERR_NO_ERROR)

    /// librdkafka's buffer has no room for the message: `queue.buffering.max.messages` or `.kbytes`.
    static let queueFull = RdKafkaCode(RD_KAFKA_RESP_ERR__QUEUE_FULL)

    /// Why the calling thread's last call failed that answered with no code of its own (`rd_kafka_last_error`).
    static var last: RdKafkaCode { RdKafkaCode(rd_kafka_last_error()) }

    /// Whether librdkafka knows of no such topic or partition, which need not mean that the brokers do not.
    var isUnknownTopicOrPartition: Bool {
        switch raw {
        case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
            true
        default: false
        }
    }

    /// Whether the client has failed for good, so that its ``RdKafkaClient/fatalError`` says why.
    var isFatal: Bool {
        raw == RD_KAFKA_RESP_ERR__FATAL || raw == RD_KAFKA_RESP_ERR__FENCED
    }

    /// librdkafka's name, such as `_MSG_TIMED_OUT`.
    var name: String { raw.name }

    /// librdkafka's sentence.
    var text: String { raw.text }
}

extension KafkaError {
    /// The error of a call: not of one that succeeded.
    init(_ code: RdKafkaCode, reason: String? = nil, persistence: Persistence? = nil) {
        self.init(code.raw, reason: reason, persistence: persistence)
    }
}
