internal import CRdKafka

/// A delivery report: what became of one message. Lent by its event, and gone with it.
struct RdKafkaReport {
    let raw: UnsafePointer<rd_kafka_message_t>

    /// What was handed over with the message.
    var opaque: UnsafeMutableRawPointer? { raw.pointee._private }

    var isConfirmed: Bool { raw.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR }

    /// Where a message that is confirmed is stored.
    var metadata: RecordMetadata { RecordMetadata(raw) }

    /// How long it took from handing it over to its report, in microseconds (`rd_kafka_message_latency`).
    var latency: Int64 { rd_kafka_message_latency(raw) }
}

extension RefusedBatch {
    /// - Parameter reports: All of an event's that have an error.
    init(_ reports: [RdKafkaReport]) {
        self.init(reports.map(\.raw.pointee.err))
    }

    /// What a report with an error says.
    func error(_ report: RdKafkaReport) -> KafkaError {
        error(report.raw)
    }
}
