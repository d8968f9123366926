internal import CRdKafka
internal import Synchronization

/// Groups, assignments and commits, at the boundary to librdkafka.
extension RdKafkaClient {
    /// Joins the group, or changes what is read in it. The first assignment comes as an event; ``noteJoining()`` and
    /// ``noteJoined()`` have to be told of both.
    func subscribe(to topics: [String]) -> KafkaError? {
        let list = topics.map { topic in
            PartitionOffset(
                partition: KafkaTopicPartition(topic: topic, partition: Int(RD_KAFKA_PARTITION_UA)),
                offset: PartitionOffset.none
            )
        }
        return list.withList { Self.error(rd_kafka_subscribe(raw, $0)) } ?? .noMemory
    }

    /// Leaves the group and stays in business: the partitions are revoked first, which comes as an event.
    func unsubscribe() -> KafkaError? {
        Self.error(rd_kafka_unsubscribe(raw))
    }

    /// Whether the group's protocol moves partitions one by one (KIP-429). Null, and so false, once the group was left.
    var isCooperative: Bool {
        rd_kafka_rebalance_protocol(raw).map { String(cString: $0) == "COOPERATIVE" } ?? false
    }

    /// Whether the partitions of the revocation that is being answered belong to another member already.
    var isAssignmentLost: Bool {
        rd_kafka_assignment_lost(raw) != 0
    }

    /// Accepts an assignment.
    func assign(_ partitions: [PartitionOffset]) -> KafkaError? {
        let isCooperative = isCooperative
        return partitions.withList { list in
            isCooperative
                ? Self.error(rd_kafka_incremental_assign(raw, list)) : Self.error(rd_kafka_assign(raw, list))
        } ?? .noMemory
    }

    /// Gives partitions back; all of them where the protocol is eager.
    func unassign(_ partitions: [PartitionOffset]) -> KafkaError? {
        guard isCooperative else { return Self.error(rd_kafka_assign(raw, nil)) }
        return partitions.withList { Self.error(rd_kafka_incremental_unassign(raw, $0)) } ?? .noMemory
    }

    /// Whether an assignment changes as a whole.
    var isEager: Bool {
        rd_kafka_rebalance_protocol(raw).map { String(cString: $0) == "EAGER" } ?? false
    }

    /// Starts partitions over. For those that librdkafka has given up (`auto.offset.reset=error`), which cannot be sought.
    ///
    /// - Parameters:
    ///   - partitions: Which, and where.
    ///   - others: What else is assigned, and where the application is in it: an eager assignment changes as a whole only, and
    ///     then that is fetched anew from there.
    func restart(_ partitions: [PartitionOffset], others: [PartitionOffset]) -> KafkaError? {
        if isEager {
            return (others + partitions).withList { Self.error(rd_kafka_assign(raw, $0)) } ?? .noMemory
        }
        return partitions.withList { list in
            // Not assigned any more where it was tried before in vain: then the second call can succeed, and else it cannot.
            let error = Self.error(rd_kafka_incremental_unassign(raw, list))
            return Self.error(rd_kafka_incremental_assign(raw, list)).map { error ?? $0 }
        } ?? .noMemory
    }

    /// Gives everything back while the group is being left, where librdkafka does not ask how. Waits for its main thread.
    func unassignAll() {
        _ = rd_kafka_assign(raw, nil)
    }

    /// Starts a commit whose result arrives as an event on `queue`, with `opaque`.
    func commit(_ offsets: [PartitionOffset], resultTo queue: RdKafkaQueue, opaque: UInt) -> KafkaError? {
        offsets.withList { list in
            Self.error(rd_kafka_commit_queue(raw, list, queue.raw, nil, UnsafeMutableRawPointer(bitPattern: opaque)))
        } ?? .noMemory
    }

    /// Asks the group's coordinator what is committed, and the text beside it. Blocks.
    func committed(
        _ partitions: [KafkaTopicPartition],
        within timeout: Duration
    ) -> Result<[PartitionOffset], KafkaError> {
        let entries = partitions.sorted().map { PartitionOffset(partition: $0, offset: PartitionOffset.none) }
        let answer = entries.withList { list in
            let code = rd_kafka_committed(raw, list, timeout.milliseconds)
            return (Self.error(code), [PartitionOffset](list))
        }
        guard let (error, found) = answer else { return .failure(.noMemory) }
        return error.map { .failure($0) } ?? .success(found)
    }

    /// Leaves the group. Rebalance events go on coming on `queue` until ``isConsumerClosed``.
    ///
    /// From here on a call that waits for librdkafka's main thread may wait for ever: when the group has been left, that
    /// thread throws away what has arrived meanwhile and answers none of it.
    func closeConsumer(eventsTo queue: RdKafkaQueue) -> KafkaError? {
        isLeaving.withLock { isLeaving in
            isLeaving = true
            return Self.error(rd_kafka_consumer_close_queue(raw, queue.raw))
        }
    }

    /// Whether the group was left.
    var isConsumerClosed: Bool {
        rd_kafka_consumer_closed(raw) != 0
    }

    /// The end of a partition as the last fetch reported it; does not ask the broker.
    func cachedEnd(of partition: KafkaTopicPartition) -> Int64 {
        var low: Int64 = 0
        var high: Int64 = 0
        guard let number = Int32(exactly: partition.partition),
            rd_kafka_get_watermark_offsets(raw, partition.topic, number, &low, &high) == RD_KAFKA_RESP_ERR_NO_ERROR
        else { return 0 }
        return high
    }

    static func error(_ code: rd_kafka_resp_err_t) -> KafkaError? {
        code == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : KafkaError(code)
    }

    private static func error(_ error: OpaquePointer?) -> KafkaError? {
        guard let error else { return nil }
        defer { rd_kafka_error_destroy(error) }
        return KafkaError(rd_kafka_error_code(error), reason: String(cString: rd_kafka_error_string(error)))
    }
}

extension RdKafkaConfiguration {
    /// Makes a consumer whose every event comes through its one queue.
    func makeConsumer() throws(KafkaError) -> RdKafkaClient {
        let client = try makeClient(
            RD_KAFKA_CONSUMER,
            events: RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT
        )
        // Errors and log lines, which arrive on the main queue, join the consumer's.
        rd_kafka_poll_set_consumer(client.raw)
        return client
    }
}

extension KafkaError {
    static let noMemory = KafkaError(.client, recovery: .retry, reason: "librdkafka has no memory for a list")
}
