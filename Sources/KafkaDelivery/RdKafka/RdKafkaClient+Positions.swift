internal import CRdKafka

/// Where partitions begin and end, what is committed, and going elsewhere, at the boundary to librdkafka. All of it
/// blocks.
extension RdKafkaClient {
    /// How long one attempt may take: now and then 2.0.2 does not hear of an answer, and asking again does.
    private static let attempt = Duration.seconds(3)

    /// Looks up an offset of each partition: that of the first message that is not older than a timestamp, or what
    /// ``PartitionOffset/beginning`` and ``PartitionOffset/end`` stand for at the moment. A timestamp that is later than
    /// all messages has none, and gives -1.
    ///
    /// `rd_kafka_offsets_for_times` asks the brokers with whatever it is given for a timestamp, and Kafka answers logical
    /// offsets too. So this asks each leader once for all its partitions, and ends by its deadline, which
    /// `rd_kafka_query_watermark_offsets` of 2.0.2 does not.
    func offsets(
        at timestamp: Int64,
        of partitions: some Sequence<KafkaTopicPartition>,
        until deadline: ContinuousClock.Instant
    ) throws(KafkaError) -> [KafkaTopicPartition: Int64] {
        // By topic: librdkafka writes a topic into the request whenever it changes from one entry to the next.
        let entries = Set(partitions).sorted().map { PartitionOffset(partition: $0, offset: timestamp) }
        guard !entries.isEmpty else { return [:] }
        while true {
            do throws(KafkaError) {
                return try ask(until: deadline) { timeout in
                    entries.withList { list in
                        let code = rd_kafka_offsets_for_times(raw, list, timeout.milliseconds)
                        return (code, [PartitionOffset](list))
                    }
                }.offsets
            } catch {
                guard error.isLocallyUnknown else { throw error }
                // Since 2.10.0 librdkafka forgets all partitions where all brokers are away, and says of each that there is no
                // such partition. So a broker is asked, and there is none only where one says so.
                for (topic, asked) in Dictionary(grouping: entries, by: \.partition.topic) {
                    let existing = Set(try self.partitions(of: topic, until: deadline))
                    guard asked.allSatisfy({ existing.contains($0.partition.partition) }) else { throw error }
                }
                Self.pause()
            }
        }
    }

    /// What the group has committed for each partition; those for which it has nothing are not in it.
    func committed(
        _ partitions: some Sequence<KafkaTopicPartition>,
        until deadline: ContinuousClock.Instant
    ) throws(KafkaError) -> [KafkaTopicPartition: Int64] {
        try committedEntries(partitions, until: deadline).offsets.filter { $0.value >= 0 }
    }

    /// What the group has committed for each partition, with its metadata; an offset below zero where it has nothing.
    func committedEntries(
        _ partitions: some Sequence<KafkaTopicPartition>,
        until deadline: ContinuousClock.Instant
    ) throws(KafkaError) -> [PartitionOffset] {
        let entries = Set(partitions).sorted().map { PartitionOffset(partition: $0, offset: PartitionOffset.none) }
        guard !entries.isEmpty else { return [] }
        return try ask(until: deadline) { timeout in
            entries.withList { list in
                let code = rd_kafka_committed(raw, list, timeout.milliseconds)
                return (code, [PartitionOffset](list))
            }
        }
    }

    /// The numbers of a topic's partitions. Does not make a topic that is not there (`allow.auto.create.topics`).
    func partitions(of topic: String, until deadline: ContinuousClock.Instant) throws(KafkaError) -> [Int] {
        guard let handle = rd_kafka_topic_new(raw, topic, nil) else { throw KafkaError(rd_kafka_last_error()) }
        let owned = OwnedHandle(handle, destroy: rd_kafka_topic_destroy)
        let entries = try ask(about: topic, until: deadline) { timeout in
            var answer: UnsafePointer<rd_kafka_metadata>?
            let code = rd_kafka_metadata(raw, 0, owned.raw, &answer, timeout.milliseconds)
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let answer else { return (code, []) }
            defer { rd_kafka_metadata_destroy(answer) }
            guard answer.pointee.topic_cnt == 1 else { return (code, []) }
            let found = answer.pointee.topics[0]
            let entries = (0..<Int(found.partition_cnt)).map { index in
                let partition = KafkaTopicPartition(topic: topic, partition: Int(found.partitions[index].id))
                return PartitionOffset(partition: partition, offset: PartitionOffset.none)
            }
            return (found.err, entries)
        }
        return entries.map(\.partition.partition).sorted()
    }

    /// The names of all topics that the client may see.
    func topicNames(until deadline: ContinuousClock.Instant) throws(KafkaError) -> [String] {
        let entries = try ask(until: deadline) { timeout in
            var answer: UnsafePointer<rd_kafka_metadata>?
            let code = rd_kafka_metadata(raw, 1, nil, &answer, timeout.milliseconds)
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let answer else { return (code, []) }
            defer { rd_kafka_metadata_destroy(answer) }
            let entries = (0..<Int(answer.pointee.topic_cnt)).map { index in
                let name = String(cString: answer.pointee.topics[index].topic)
                let partition = KafkaTopicPartition(topic: name, partition: 0)
                return PartitionOffset(partition: partition, offset: PartitionOffset.none)
            }
            return (code, entries)
        }
        return entries.map(\.partition.topic)
    }

    /// Which of some partitions do not exist; nil where the brokers could not be asked in time. Blocks.
    func missing(of partitions: Set<KafkaTopicPartition>, within timeout: Duration) -> Set<KafkaTopicPartition>? {
        let deadline = ContinuousClock.now.advanced(by: timeout)
        var missing: Set<KafkaTopicPartition> = []
        for (topic, asked) in Dictionary(grouping: partitions, by: \.topic) {
            do throws(KafkaError) {
                let existing = Set(try self.partitions(of: topic, until: deadline))
                missing.formUnion(asked.filter { !existing.contains($0.partition) })
            } catch {
                guard error.kind == .unknownTopicOrPartition else { return nil }
                missing.formUnion(asked)
            }
        }
        return missing
    }

    /// Commits a partition's offset, and waits for the answer.
    func commit(_ offset: PartitionOffset) throws(KafkaError) {
        let code = [offset].withList { rd_kafka_commit_queue(raw, $0, nil, nil, nil) }
        guard let code else { throw .noMemory }
        if let error = Self.error(code) { throw error }
    }

    /// Asks again after errors that may pass.
    ///
    /// - Parameter subject: What to name in errors.
    private func ask(
        about subject: String? = nil,
        until deadline: ContinuousClock.Instant,
        _ question: (Duration) -> (rd_kafka_resp_err_t, [PartitionOffset])?
    ) throws(KafkaError) -> [PartitionOffset] {
        var last = KafkaError(.timedOut, recovery: .retry, reason: "the brokers did not answer in time")
        while true {
            let remaining = ContinuousClock.now.duration(to: deadline)
            guard remaining > .zero else { throw last }
            guard let (code, entries) = question(min(remaining, Self.attempt)) else { throw .noMemory }
            let error = Self.error(code) ?? entries.lazy.compactMap(\.error).first
            guard let error else { return entries }
            last = subject.map { error.about($0) } ?? error
            guard error.recovery == .retry else { throw last }
            Self.pause()
        }
    }

    /// Makes librdkafka fetch a partition from another offset, which is not a logical one.
    ///
    /// `rd_kafka_seek` and not `rd_kafka_seek_partitions`, whose time-out is 1,000 times too short before 2.1.0. A
    /// partition that waits for the group's offset cannot be sought yet (`_STATE`), and a rebalance at that moment
    /// overtakes the seek (`_OUTDATED`): both are worth trying again.
    func seek(_ partition: KafkaTopicPartition, to offset: Int64, within timeout: Duration) -> KafkaError? {
        guard let topic = topic(partition.topic), let number = Int32(exactly: partition.partition) else {
            return KafkaError(rd_kafka_last_error())
        }
        let code = rd_kafka_seek(topic.raw, number, offset, max(timeout, .milliseconds(1)).milliseconds)
        switch code {
        case RD_KAFKA_RESP_ERR__STATE, RD_KAFKA_RESP_ERR__OUTDATED, RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS:
            return KafkaError(.client, recovery: .retry, reason: "\(partition) is not ready", code: code.name)
        default:
            return Self.error(code)
        }
    }

    /// Time is what is waited for here: nothing tells that a broker has come back, that a partition has started, or that a
    /// call is worth repeating.
    static func pause(milliseconds: UInt32 = 50) {
        Platform.sleep(milliseconds: milliseconds)
    }
}

extension KafkaError {
    fileprivate func about(_ subject: String) -> KafkaError {
        KafkaError(kind, persistence: persistence, recovery: recovery, reason: "\(subject): \(reason)", code: code)
    }
}

extension [PartitionOffset] {
    fileprivate var offsets: [KafkaTopicPartition: Int64] {
        Dictionary(map { ($0.partition, $0.offset) }, uniquingKeysWith: { $1 })
    }
}
