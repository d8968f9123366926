internal import CRdKafka

/// What reports with errors say that came in one event.
///
/// A broker answers a batch of messages as a whole (`Produce`), also where one of them is at fault. librdkafka hands its answer
/// to each of them, in one event: so an event with several reports of such an error says of none whether it is the one.
/// Since 2.4.0, and where the broker says which messages are at fault (KIP-467), the others have an error of their own.
struct RefusedBatch {
    /// How many messages there were.
    let count: Int
    /// Whether the broker said which of them are at fault.
    let namesCulprits: Bool

    /// - Parameter codes: Of all reports of an event.
    init(_ codes: some Collection<rd_kafka_resp_err_t>) {
        count = codes.count
        namesCulprits = codes.contains(.invalidDifferentRecord)
    }

    /// Whether a message with this error may be good.
    func mayBeGood(_ code: rd_kafka_resp_err_t) -> Bool {
        if code == .invalidDifferentRecord { return true }
        return count > 1 && !namesCulprits && code.mayConcernOneMessage
    }

    /// What a message's report says.
    func error(_ code: rd_kafka_resp_err_t, persistence: KafkaError.Persistence) -> KafkaError {
        guard mayBeGood(code) else { return KafkaError(code, persistence: persistence) }
        let isTooLarge = KafkaError(code).kind == .messageTooLarge
        let why =
            isTooLarge
            ? "which are too large together, or one of them is: send it again by itself, and set maximumBatchBytes to what "
                + "the topic allows (max.message.bytes)"
            : "for one of them: send it again by itself"
        return KafkaError(
            .batchRefused,
            persistence: persistence,
            recovery: .retry,
            reason: "the broker refused a batch of \(count) messages, this one with it, \(why) (\(code.text))",
            code: code.name
        )
    }

    /// What a delivery report with an error says.
    func error(_ report: UnsafePointer<rd_kafka_message_t>) -> KafkaError {
        let isStored = rd_kafka_message_status(report) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED
        return error(report.pointee.err, persistence: isStored ? .possiblyPersisted : .notPersisted)
    }
}

extension rd_kafka_resp_err_t {
    /// `RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD`, which 2.0.2's header does not have: another message of the batch is at
    /// fault.
    static let invalidDifferentRecord = rd_kafka_resp_err_t(rawValue: -138)

    /// Whether a broker may answer this to a batch for one of its messages. What is not known here may be such an error: then
    /// each message is sent again once more than it has to be, and no good one is taken for a bad one.
    fileprivate var mayConcernOneMessage: Bool {
        switch self {
        // Would be the answer to any message.
        case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS,
            RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION, RD_KAFKA_RESP_ERR_INVALID_REQUEST,
            RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT, RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE,
            RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
            RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED, RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER,
            RD_KAFKA_RESP_ERR_SECURITY_DISABLED:
            return false
        // Brokers before 2.3 answer it to a message without a key in a compacted topic.
        case RD_KAFKA_RESP_ERR_INVALID_MSG:
            return true
        default:
            guard rawValue > 0 else { return false }
            let error = KafkaError(self)
            guard error.recovery == .fixRequest else { return false }
            return switch error.kind {
            case .messageTooLarge, .invalidArgument, .broker: true
            default: false
            }
        }
    }
}
