internal import CRdKafka

/// A delivery report: what became of one message. Lent by its event, and gone with it.
struct RdKafkaReport {
    let raw: UnsafePointer<rd_kafka_message_t>

    /// What was handed over with the message.
    var opaque: UnsafeMutableRawPointer? { raw.pointee._private }

    /// Whether a broker confirmed the message.
    var isConfirmed: Bool {
        raw.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR && (raw.pointee.offset >= 0 || !isInferred)
    }

    /// Whether the report says only that the broker has confirmed a later message of the partition.
    ///
    /// An idempotent producer's request fails, the next one that was under way succeeds, and librdkafka takes what was in the first
    /// for stored (`rd_kafka_dr_implicit_ack`): a broker that knows the producer would have refused the second as out of order. One
    /// that does not know it in this partition yet takes any sequence number for the first, though it has refused what comes before
    /// it. Such a report has neither an offset nor the broker that answered, which all others without an error have, also without
    /// acknowledgements (`acks=0`).
    var isInferred: Bool {
        raw.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR && rd_kafka_message_broker_id(raw) < 0
    }

    /// Whether the broker said where it is: of an event's first report, for all of them.
    var hasOffset: Bool { raw.pointee.offset >= 0 }

    /// Where a message that is confirmed is stored.
    ///
    /// - Parameter hasOffset: What the first report of its event says.
    func metadata(hasOffset: Bool) -> RecordMetadata { RecordMetadata(raw, hasOffset: hasOffset) }

    /// How long it took from handing it over to its report, in microseconds (`rd_kafka_message_latency`).
    var latency: Int64 { rd_kafka_message_latency(raw) }
}

extension RefusedBatch {
    /// - Parameter reports: All of an event's that do not confirm their message.
    init(_ reports: [RdKafkaReport]) {
        self.init(reports.map(\.raw.pointee.err))
    }

    /// What a report says that does not confirm its message.
    func error(_ report: RdKafkaReport) -> KafkaError {
        report.isInferred ? .unconfirmed : error(report.raw)
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
    ///
    /// librdkafka counts a batch's offsets up from that of its first message (`rd_kafka_msgq_set_metadata`), also where the broker said
    /// none: from -1001 without acknowledgements, from -1 where the broker has the batch already (`DUPLICATE_SEQUENCE_NUMBER`, of which
    /// librdkafka makes a success).
    fileprivate init(_ report: UnsafePointer<rd_kafka_message_t>, hasOffset: Bool) {
        var type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
        let milliseconds = rd_kafka_message_timestamp(report, &type)
        self.init(
            offset: hasOffset ? report.pointee.offset : -1,
            millisecondsSince1970: type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : milliseconds,
            partition: report.pointee.partition
        )
    }
}

extension KafkaError {
    fileprivate static let unconfirmed = KafkaError(
        .unconfirmed,
        persistence: .possiblyPersisted,
        recovery: .retry,
        reason: "the broker did not confirm the message, and has confirmed a later one of the partition: it is not "
            + "stored where the broker had nothing of this producer there before"
    )
}
