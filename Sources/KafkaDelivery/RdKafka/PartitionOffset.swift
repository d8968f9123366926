internal import CRdKafka

/// One entry of a list that goes to or comes from librdkafka.
struct PartitionOffset: Sendable {
    var partition: KafkaTopicPartition
    /// An offset, or one of librdkafka's logical ones (`RD_KAFKA_OFFSET_BEGINNING` and so on).
    var offset: Int64
    /// What the commit carries along with the offset.
    var metadata: [UInt8] = []
    var error: KafkaError?
    var errorCode: rd_kafka_resp_err_t = RD_KAFKA_RESP_ERR_NO_ERROR

    static let beginning = Int64(RD_KAFKA_OFFSET_BEGINNING)
    static let end = Int64(RD_KAFKA_OFFSET_END)
    static let stored = Int64(RD_KAFKA_OFFSET_STORED)
    static let none = Int64(RD_KAFKA_OFFSET_INVALID)
}

extension [PartitionOffset] {
    /// Copies what librdkafka lists.
    init(_ list: UnsafePointer<rd_kafka_topic_partition_list_t>) {
        self = (0..<Int(list.pointee.cnt)).map { index in
            let element = list.pointee.elems[index]
            let code = element.err
            return PartitionOffset(
                partition: KafkaTopicPartition(
                    topic: String(cString: element.topic),
                    partition: Int(element.partition)
                ),
                offset: element.offset,
                metadata: element.metadata.map {
                    [UInt8](UnsafeRawBufferPointer(start: $0, count: element.metadata_size))
                } ?? [],
                error: code == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : KafkaError(code),
                errorCode: code
            )
        }
    }

    /// Lends these entries to librdkafka for the duration of `body`, which may change them.
    func withList<Result>(
        _ body: (UnsafeMutablePointer<rd_kafka_topic_partition_list_t>) -> Result
    ) -> Result? {
        guard let list = rd_kafka_topic_partition_list_new(Int32(clamping: count)) else { return nil }
        defer { rd_kafka_topic_partition_list_destroy(list) }
        for entry in self {
            guard let number = Int32(exactly: entry.partition.partition),
                let element = rd_kafka_topic_partition_list_add(list, entry.partition.topic, number)
            else { continue }
            element.pointee.offset = entry.offset
            if !entry.metadata.isEmpty {
                // librdkafka frees the metadata together with the list, with free().
                element.pointee.metadata = Platform.allocatedCopy(of: entry.metadata)
                element.pointee.metadata_size = element.pointee.metadata == nil ? 0 : entry.metadata.count
            }
        }
        return body(list)
    }
}

extension Int64 {
    /// How many offsets lie between another one and this; none where this does not come after it. Both may be whatever a broker
    /// says: a difference that is too great is the greatest there is.
    func distance(after other: Int64) -> Int64 {
        guard self > other else { return 0 }
        let (distance, isTooGreat) = subtractingReportingOverflow(other)
        return isTooGreat ? .max : distance
    }
}
