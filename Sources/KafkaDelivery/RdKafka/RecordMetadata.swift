internal import CRdKafka

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
