internal import CRdKafka

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// What the brokers know of a topic and a group. Everything here blocks: call it on a thread of the library's own.
extension RdKafkaClient {
    /// The numbers of a topic's partitions. Does not make a topic that is not there (`allow.auto.create.topics`).
    func partitions(of topic: String, within timeout: Duration) throws(KafkaError) -> [Int] {
        guard let raw = rd_kafka_topic_new(raw, topic, nil) else { throw KafkaError(rd_kafka_last_error()) }
        let handle = OwnedHandle(raw, destroy: rd_kafka_topic_destroy)
        var answer: UnsafePointer<rd_kafka_metadata>?
        let code = rd_kafka_metadata(self.raw, 0, handle.raw, &answer, timeout.milliseconds)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let answer else { throw KafkaError(code) }
        defer { rd_kafka_metadata_destroy(answer) }
        guard answer.pointee.topic_cnt == 1 else { return [] }
        let found = answer.pointee.topics[0]
        guard found.err == RD_KAFKA_RESP_ERR_NO_ERROR else {
            throw KafkaError(found.err, reason: "\(topic): \(found.err.text)")
        }
        return (0..<Int(found.partition_cnt)).map { Int(found.partitions[$0].id) }.sorted()
    }

    /// The offsets of a partition's first message and of the one that will be stored next; to `read_committed`, where its
    /// first open transaction begins.
    func bounds(of partition: KafkaTopicPartition, within timeout: Duration) throws(KafkaError) -> Range<Int64> {
        var low: Int64 = 0
        var high: Int64 = 0
        guard let number = Int32(exactly: partition.partition) else { throw .noSuchPartition(partition) }
        let code = rd_kafka_query_watermark_offsets(raw, partition.topic, number, &low, &high, timeout.milliseconds)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code, reason: "\(partition): \(code.text)") }
        return max(low, 0)..<max(low, high, 0)
    }

    /// What the group has committed, with its metadata; an offset below zero where there is nothing.
    func committed(
        _ partitions: [KafkaTopicPartition],
        within timeout: Duration
    ) throws(KafkaError) -> [PartitionOffset] {
        let entries = partitions.map { PartitionOffset(partition: $0, offset: PartitionOffset.none) }
        let answer = entries.withList { list in
            let code = rd_kafka_committed(raw, list, timeout.milliseconds)
            return (code, [PartitionOffset](list))
        }
        guard let (code, offsets) = answer else { throw .noMemory }
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            throw KafkaError(code, reason: "the group's offsets cannot be read: \(code.text)")
        }
        if let error = offsets.lazy.compactMap(\.error).first { throw error }
        return offsets
    }

    /// Commits, and waits for the answer.
    func commit(_ offset: PartitionOffset) throws(KafkaError) {
        let code = [offset].withList { rd_kafka_commit_queue(raw, $0, nil, nil, nil) }
        guard let code else { throw .noMemory }
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            throw KafkaError(code, reason: "\(offset.partition) cannot be committed: \(code.text)")
        }
    }
}

extension RdKafkaClient {
    /// Asks until there is an answer, an error that does not pass by itself, or no time left. A coordinator that is still
    /// reading its state answers with an error, which rd_kafka_committed passes on.
    ///
    /// - Parameters:
    ///   - limit: How long all of it may take.
    ///   - body: One question, and how long it may take: a part of that, for now and then 2.0.2 does not hear of the
    ///     coordinator's answer and waits for the whole time.
    static func asking<Answer>(
        within limit: Duration,
        _ body: (_ timeout: Duration) throws(KafkaError) -> Answer
    ) throws(KafkaError) -> Answer {
        let deadline = ContinuousClock.now.advanced(by: limit)
        while true {
            do {
                return try body(limit / 5)
            } catch {
                guard error.recovery == .retry, ContinuousClock.now < deadline else { throw error }
                // Brokers do not say when they are ready.
                usleep(100_000)
            }
        }
    }
}

extension KafkaError {
    fileprivate static func noSuchPartition(_ partition: KafkaTopicPartition) -> KafkaError {
        .invalidArgument("\(partition): there is no such partition", persistence: nil)
    }
}
