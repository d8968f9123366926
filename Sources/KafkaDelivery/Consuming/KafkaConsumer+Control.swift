/// Standing still, going elsewhere, and knowing where one is.
extension KafkaConsumer {
    /// The partitions that are this consumer's at the moment, in order.
    public var assignment: [KafkaTopicPartition] { core.assigned.keys.sorted() }

    // MARK: Standing still

    /// Hands out nothing more of some partitions until ``resume(_:)``. Cannot wait.
    ///
    /// Once it returns nothing is handed out, not even what is due for another attempt. The partitions stay assigned, what
    /// was handed out before can still be settled and is committed, and nothing that was fetched is thrown away or fetched
    /// again: librdkafka's own pause (`rd_kafka_pause_partitions`) is not used. Pausing twice is the same as once.
    ///
    /// A pause belongs to the generation: a partition that is assigned again, to this consumer or another, is not
    /// paused. A loop over ``partitions`` that wants it so pauses each partition as it gets it.
    ///
    /// - Throws: ``KafkaError``: `assignmentEnded` where one of them is not assigned to this consumer, and then none is
    ///   paused; `closed`.
    public func pause(_ partitions: [KafkaTopicPartition]) throws(KafkaError) {
        for reader in try core.readers(of: partitions) { reader.pause() }
    }

    /// Goes on with partitions that were paused, where they stood. Those that are not paused, or not this consumer's any
    /// more, are left alone. Cannot wait.
    public func resume(_ partitions: [KafkaTopicPartition]) {
        let assigned = core.assigned
        for partition in partitions { assigned[partition]?.resume() }
    }

    /// The partitions that are paused, in order.
    public var pausedPartitions: [KafkaTopicPartition] {
        core.assigned.filter { $0.value.isPaused }.keys.sorted()
    }

    // MARK: Going elsewhere

    /// Goes on with partitions at other offsets, back or forth.
    ///
    /// ```swift
    /// try await consumer.seek(consumer.assignment, to: .timestamp(yesterday))     // once more from there
    /// ```
    ///
    /// From the call on nothing of the partitions is handed out until they are there; what was fetched from the old
    /// offset is never handed out. Deliveries from before the seek belong to the past: their verdicts change nothing
    /// (they are counted as late), what waits for another attempt is dropped, and revocation and closing do not wait
    /// for them. **What was acknowledged and not yet committed is not committed any more**; `try await commit()` before
    /// the seek for that. The seek itself commits nothing: the group's offset changes with the first commit of what is
    /// handed out after it, and may then move backwards, which it does in no other case.
    ///
    /// A loop over the partition goes on with the new offset; a paused partition stays paused. Where another seek of the
    /// same partition is under way, the later one counts. A partition that has failed (`offsetOutOfRange`, see
    /// ``Configuration/AutoOffsetReset/failure``) goes on too.
    ///
    /// - Parameters:
    ///   - partitions: Which; they have to be assigned to this consumer.
    ///   - start: Where to. A timestamp later than all messages means the end. An offset behind the end means the end, and one
    ///     before the beginning the beginning; with ``Configuration/AutoOffsetReset/failure`` they are refused. `committed` where
    ///     nothing is committed means what ``Configuration/autoOffsetReset`` says.
    ///   - timeout: How long looking up the offsets and moving may take together.
    /// - Returns: The offsets at which the partitions go on.
    /// - Throws: ``KafkaError``. `timedOut` also where librdkafka has fetched nothing of a partition yet and still asks the brokers where it
    ///   begins, for then it may not be sought; the others are moved all the same. Where the offsets could not be looked up (`timedOut`, `brokersUnreachable`, …) the
    ///   partitions go on where they were. With `timedOut` from librdkafka itself, which takes a hung client, they
    ///   may still move later. `assignmentEnded` where one is not, or no longer, assigned; `cancelled`, and then it may
    ///   take place all the same; `offsetOutOfRange`; `invalidArgument`; `closed`.
    @discardableResult
    public func seek(
        _ partitions: [KafkaTopicPartition],
        to start: Configuration.Start,
        within timeout: Duration = .seconds(10)
    ) async throws(KafkaError) -> [KafkaTopicPartition: Int64] {
        try await PartitionSeek(core).seek(partitions, to: start, until: .now.advanced(by: timeout.asTimeout))
    }

    /// Goes on with one partition at another offset, as `seek` of several does.
    ///
    /// - Returns: The offset at which it goes on.
    @discardableResult
    public func seek(
        _ partition: KafkaTopicPartition,
        to start: Configuration.Start,
        within timeout: Duration = .seconds(10)
    ) async throws(KafkaError) -> Int64 {
        let offsets = try await seek([partition], to: start, within: timeout)
        guard let offset = offsets[partition] else { throw .notAssigned(partition) }
        return offset
    }

    // MARK: Knowing where one is

    /// The offset from which the next message of a partition will be handed out, whatever is settled; nil where it is not
    /// assigned, or nothing was read of it yet. Does not ask the brokers.
    public func position(of partition: KafkaTopicPartition) -> Int64? {
        core.assigned[partition]?.position
    }

    /// What the group has committed: for each partition the offset of the message to be read next. Those for which it has
    /// nothing are not in it. They do not have to be assigned (`OffsetFetch`).
    ///
    /// - Throws: ``KafkaError``: `timedOut` and others that may pass after `timeout`; `cancelled`; `closed`; `invalidArgument`
    ///   where the consumer has no group; what the broker says.
    public func committed(
        _ partitions: [KafkaTopicPartition],
        within timeout: Duration = .seconds(10)
    ) async throws(KafkaError) -> [KafkaTopicPartition: Int64] {
        guard core.configuration.hasGroup else { throw .noGroup }
        return try await ask(about: partitions, within: timeout) { (core, deadline) throws(KafkaError) in
            try core.usableClient().committed(partitions, until: deadline)
        }
    }

    /// Where a partition begins and ends.
    public struct Watermarks: Sendable, Hashable {
        /// The offset of the oldest message there is (the low watermark).
        public let beginning: Int64
        /// The offset that the next message gets (the high watermark); with ``Configuration/Isolation/readCommitted`` the
        /// one after the last message that can be read (the last stable offset).
        public let end: Int64
    }

    /// Asks the brokers where partitions begin and end (`ListOffsets`); one request each to every leader. They do not have
    /// to be assigned.
    ///
    /// - Throws: ``KafkaError``: `timedOut` and others that may pass after `timeout`; `unknownTopicOrPartition`;
    ///   `cancelled`; `closed`; `invalidArgument` for what
    ///   cannot be a topic or a partition; what the broker says.
    public func watermarks(
        of partitions: [KafkaTopicPartition],
        within timeout: Duration = .seconds(10)
    ) async throws(KafkaError) -> [KafkaTopicPartition: Watermarks] {
        try await ask(about: partitions, within: timeout) { (core, deadline) throws(KafkaError) in
            try core.watermarks(of: partitions, until: deadline)
        }
    }

    /// How far the group is behind: for each partition, how many offsets lie between what is committed and the end. Where
    /// nothing is committed, it counts from the beginning; without a group, from the position, where there is one.
    /// Transactions' control records and compaction leave gaps in offsets, so there may be fewer messages. Asks the
    /// brokers; the partitions do not have to be assigned.
    ///
    /// - Throws: As ``committed(_:within:)`` and ``watermarks(of:within:)``.
    public func lag(
        of partitions: [KafkaTopicPartition],
        within timeout: Duration = .seconds(10)
    ) async throws(KafkaError) -> [KafkaTopicPartition: Int64] {
        try await ask(about: partitions, within: timeout) { (core, deadline) throws(KafkaError) in
            let committed =
                try core.configuration.hasGroup
                ? core.usableClient().committed(partitions, until: deadline)
                : core.assigned.compactMapValues(\.position)
            return try core.watermarks(of: partitions, until: deadline).reduce(into: [:]) { lags, entry in
                lags[entry.key] = entry.value.end.distance(after: committed[entry.key] ?? entry.value.beginning)
            }
        }
    }

    /// Asks the brokers something about partitions, on the thread for calls that block.
    private func ask<Answer: Sendable>(
        about partitions: [KafkaTopicPartition],
        within timeout: Duration,
        _ question: @escaping @Sendable (ConsumerCore, ContinuousClock.Instant) throws(KafkaError) -> Answer
    ) async throws(KafkaError) -> Answer {
        try partitions.validate()
        let deadline = ContinuousClock.now.advanced(by: timeout.asTimeout)
        return try await core.blocking.run { [core] in
            Result { () throws(KafkaError) in try question(core, deadline) }
        }.get()
    }
}

extension ConsumerCore {
    /// Blocks.
    func watermarks(
        of partitions: [KafkaTopicPartition],
        until deadline: ContinuousClock.Instant
    ) throws(KafkaError) -> [KafkaTopicPartition: KafkaConsumer.Watermarks] {
        let ends = try usableClient().offsets(at: PartitionOffset.end, of: partitions, until: deadline)
        let beginnings = try usableClient().offsets(at: PartitionOffset.beginning, of: partitions, until: deadline)
        return beginnings.reduce(into: [:]) { result, entry in
            guard let end = ends[entry.key] else { return }
            result[entry.key] = KafkaConsumer.Watermarks(saidToBegin: entry.value, saidToEnd: end)
        }
    }
}

extension KafkaConsumer.Watermarks {
    /// What the brokers say, made something to count with: less than zero stands for no offset, and the two are asked for one
    /// after the other.
    init(saidToBegin beginning: Int64, saidToEnd end: Int64) {
        self.beginning = max(beginning, 0)
        self.end = max(end, self.beginning)
    }
}
