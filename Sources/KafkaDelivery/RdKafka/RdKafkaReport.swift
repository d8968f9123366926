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

/// Where a message is stored, as its delivery report says; its topic is what the sender knows.
struct RecordMetadata: Sendable {
    /// -1 where the broker does not say.
    let offset: Int64
    /// -1 where there is none.
    let millisecondsSince1970: Int64
    let partition: Int32

    static let none = RecordMetadata(offset: -1, millisecondsSince1970: -1, partition: -1)
}

extension RecordMetadata {
    /// What a delivery report without an error says.
    init(_ report: UnsafePointer<rd_kafka_message_t>) {
        var type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
        let milliseconds = rd_kafka_message_timestamp(report, &type)
        self.init(
            offset: max(report.pointee.offset, -1),
            millisecondsSince1970: type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : milliseconds,
            partition: report.pointee.partition
        )
    }
}
