internal import Logging

/// What is assigned to the consumer: begins generations, ends them, and gives partitions back. Of the consumer's thread.
final class ConsumerAssignment {
    /// The partitions that are ours, or on their way back.
    private(set) var readers: [KafkaTopicPartition: PartitionReader] = [:]
    /// Acknowledgements, in the life of the consumer, whose partition went before they were committed.
    private(set) var uncommitted: [KafkaTopicPartition: Int] = [:]
    private var generation = 0
    private var revocation: Revocation<PartitionReader>
    private var backedOff = BackedOffPartitions<PartitionReader>()

    private let core: ConsumerCore
    private let client: RdKafkaClient
    private let starts: PartitionStarts
    private let commits: OffsetCommits
    private let stuck: StuckHandlers
    private let poison: PoisonSearch?
    private let metrics: ConsumerMetrics?

    init(
        _ core: ConsumerCore,
        _ client: RdKafkaClient,
        _ starts: PartitionStarts,
        _ commits: OffsetCommits,
        _ stuck: StuckHandlers,
        _ poison: PoisonSearch?,
        _ metrics: ConsumerMetrics?
    ) {
        self.core = core
        self.client = client
        self.starts = starts
        self.commits = commits
        self.stuck = stuck
        self.poison = poison
        self.metrics = metrics
        self.revocation = Revocation(limit: core.configuration.revocationLimit)
    }

    var isRevoking: Bool { revocation.isUnderWay }

    /// Whether nothing is assigned, and nothing on its way back.
    var isOut: Bool { readers.isEmpty && !isRevoking }

    /// When a revocation's phase is over.
    var nextRevocation: ContinuousClock.Instant? { revocation.next }

    /// When a delivery that was held back is due, by the clock of back-off.
    var nextBackedOff: ContinuousClock.Instant? { backedOff.next }

    /// Whether nothing is in hand any more.
    var isDrained: Bool { readers.values.allSatisfy { $0.heldCount == 0 } }

    /// Whether nothing is in hand any more, and what was acknowledged is committed.
    var isReadyToLeave: Bool { isDrained && commits.areDone(readers.values) }

    /// Those of some readers that are still ours.
    func current(_ some: [PartitionReader]) -> [PartitionReader] {
        some.filter { readers[$0.partition] === $0 }
    }

    /// Takes the next step of committing.
    func advanceCommits(isClosing: Bool) {
        commits.advance(readers.values, isRevoking: isRevoking, isClosing: isClosing)
    }

    // MARK: Coming

    func assign(_ partitions: [PartitionOffset], _ closing: ConsumerClosing) {
        commits.release()
        if closing.isLeaving {
            // It came while the group is being left: nothing is taken on any more, and the group waits for no answer.
            return
        }
        generation += 1
        let unresolved = beginReturning(closing)
        defer { finishReturning(unresolved) }
        stuck.began()
        let points = starts.points(partitions)
        let assigned = points.compactMap(begin)
        poison?.began(assigned)
        let held = starts.hold(assigned)
        // Before librdkafka is told: from then on messages are handed out, and the application may ask whose partitions they are.
        core.noteAssigned(assigned)
        if let error = client.assign(points) {
            // The group waits for an answer, and so it gets one.
            _ = client.unassign(points)
            for reader in assigned { core.noteEnded(reader) }
            return fail(error)
        }
        starts.noteAssigned(points.map(\.partition))
        for reader in assigned { metrics?.begin(reader.partition, generation: reader.generation) }
        core.logger.debug("Partitions assigned", metadata: ["kafka_partitions": "\(points.map(\.partition))"])
        core.events.send(.assigned(points.map(\.partition), generation: generation))
        guard !closing.isUnderWay else { return endLoops(of: assigned) }
        core.offer(assigned)
        // The queue may hold markers of an earlier generation that were not read any more: then it is not empty, and
        // librdkafka does not say that it stops being so. The loop that looks clears them away.
        for reader in assigned { core.signal(reader) }
        starts.bring(held)
    }

    /// Begins a generation of a partition, before it is accepted.
    private func begin(_ point: PartitionOffset) -> PartitionReader? {
        guard let queue = RdKafkaQueue.partition(point.partition, of: client) else { return nil }
        let reader = PartitionReader(
            point.partition,
            generation: generation,
            core: core,
            queue: queue,
            startingOffset: point.offset,
            configuration: core.configuration
        )
        reader.start()
        readers[point.partition] = reader
        return reader
    }

    /// The consumer cannot go on: all loops end with the error, those over one partition too.
    func fail(_ error: KafkaError) {
        core.fail(error)
        endLoops(of: readers.values)
    }

    // MARK: While it is ours

    /// A delivery of a partition is held back until some time.
    func backOff(_ reader: PartitionReader, until due: ContinuousClock.Instant) {
        backedOff.add(reader, due: due)
    }

    /// Offers partitions whose back-off is over to their loops.
    func wakeBackedOff() {
        guard let next = backedOff.next, next <= core.backoff.now else { return }
        for case .offer(let reader) in backedOff.advance(at: core.backoff.now) { core.signal(reader) }
    }

    /// Tells of partitions that librdkafka has reset since the last time: the brokers do not have their offsets any more.
    func tellResets() {
        for reset in client.groupLog?.resets.take() ?? [] {
            readers[reset.partition]?.noteResets()
            metrics?.noteReset()
            core.logger.warning(
                "The offset to be read next is not in the partition any more, going on elsewhere",
                metadata: [
                    "kafka_partition": "\(reset.partition)", "kafka_offset": "\(reset.offset)",
                    "kafka_start": "\(core.configuration.autoOffsetReset)",
                ]
            )
            core.events.send(.offsetReset(reset.partition, from: reset.offset))
        }
    }

    /// Finds the partitions that librdkafka has reset, and of which nothing was read since; nothing is read of them until
    /// ``finishReturning(_:)``.
    ///
    /// A rebalance pauses what stays assigned, and librdkafka goes on from where the application was, of which a reset changes
    /// nothing: at the offset that was not there. In the meantime another log may have grown beyond it, and all before it would be
    /// skipped. A seek, unlike a reset, makes librdkafka forget where the application was. Where a new group starts at the end
    /// there is no way back: what has come since would be skipped.
    private func beginReturning(_ closing: ConsumerClosing) -> [PartitionReader] {
        tellResets()
        guard !closing.isUnderWay, core.configuration.autoOffsetReset == .beginning else { return [] }
        return readers.values.filter { $0.isUnresolved && $0.beginSeek() }
    }

    /// Brings them to where the reset had sent them. After the answer to the rebalance, which resumes them.
    private func finishReturning(_ unresolved: [PartitionReader]) {
        guard !unresolved.isEmpty else { return }
        PartitionSeek(core).bring(unresolved, to: .beginning)
    }

    // MARK: Going

    /// Nothing more is handed out; verdicts still count.
    func endLoops(of ending: some Collection<PartitionReader>) {
        core.endLoops(of: ending)
        starts.ended(ending)
    }

    func revoke(_ partitions: [PartitionOffset], _ closing: inout ConsumerClosing) {
        commits.release()
        let revoked = partitions.compactMap { readers[$0.partition] }
        endLoops(of: revoked)
        revocation.begin(partitions, of: revoked, at: .now)
        advanceRevocation(&closing)
    }

    /// Takes the next step of giving partitions back: wait for what is in hand, commit, unassign.
    func advanceRevocation(_ closing: inout ConsumerClosing) {
        while isRevoking {
            let actions = revocation.advance(
                at: .now,
                isOver: closing.isLeaving || client.isAssignmentLost,
                isDrained: stuck.isDrained,
                isCommitted: commits.areDone,
                leavesInstead: closing.isUnderWay && isReadyToLeave
            )
            guard !actions.isEmpty else { return }
            for action in actions {
                switch action {
                case .commit:
                    commits.schedule()
                    advanceCommits(isClosing: closing.isUnderWay)
                case .giveBack(let partitions, let readers):
                    finishRevocation(partitions, readers, &closing)
                }
            }
        }
    }

    private func finishRevocation(
        _ offsets: [PartitionOffset],
        _ revoked: [PartitionReader],
        _ closing: inout ConsumerClosing
    ) {
        commits.release()
        let isLost = client.isAssignmentLost
        let (unsettled, uncommitted) = end(revoked)
        closing.noteUnsettled(unsettled)
        let unresolved = beginReturning(closing)
        giveBack(offsets, closing.takeAnswer())
        finishReturning(unresolved)
        if !closing.isUnderWay, !isLost, core.configuration.groupProtocol == .classic, client.isCooperative {
            // The member joins again at once, for a generation that the group may be in before the answer is here.
            commits.hold()
        }
        let partitions = offsets.map(\.partition)
        core.logger.debug(
            isLost ? "Partitions lost" : "Partitions revoked",
            metadata: ["kafka_partitions": "\(partitions)", "kafka_unsettled": "\(unsettled)"]
        )
        // A commit waits for its answer behind the join that is under way, which may take longer than we may wait.
        if !isLost, !uncommitted.isEmpty { reportCommitTooLate(uncommitted.keys.sorted()) }
        reportUncommitted(uncommitted)
        core.events.send(isLost ? .lost(partitions, unsettled: unsettled) : .revoked(partitions, unsettled: unsettled))
    }

    /// Gives partitions back, which is what the group waits for.
    ///
    /// librdkafka's calls for that wait, without a limit, until its main thread has answered. When that thread has left the
    /// group it throws away whatever has arrived meanwhile (`rd_kafka_cgrp_terminated` purges its queue), and the caller
    /// waits for ever. It does not leave before it was given the answer that it waits for; so it is given that one, and no
    /// other. Which is the last one cannot be seen from here where a rebalance began in the instant in which librdkafka was
    /// told to leave. So that one is given on a thread of its own: whatever becomes of it, closing ends in time.
    private func giveBack(_ partitions: [PartitionOffset], _ answer: ConsumerClosing.Answer) {
        switch answer {
        case .any:
            if let error = client.unassign(partitions) { core.report(error) }
        case .last:
            let client = client
            if !BlockingThread.start("kafka-leave", { client.unassignAll() }) { client.unassignAll() }
        case .none:
            break
        }
    }

    /// Ends all generations: the consumer is closed.
    ///
    /// - Returns: How many deliveries had no verdict.
    func endAll() -> Int {
        let (unsettled, uncommitted) = end(Array(readers.values))
        reportUncommitted(uncommitted)
        return unsettled
    }

    /// Ends generations.
    ///
    /// - Returns: How many deliveries had no verdict, and how many acknowledgements did not reach the broker, as far as we
    ///   know, for the partitions that had any.
    private func end(_ ending: [PartitionReader]) -> (unsettled: Int, uncommitted: [KafkaTopicPartition: Int]) {
        var unsettled = 0
        var uncommitted: [KafkaTopicPartition: Int] = [:]
        endLoops(of: ending)
        for reader in ending {
            let rest = reader.end()
            core.noteEnded(reader)
            metrics?.end(reader.partition, generation: reader.generation, reader.snapshot(stuck.clock, at: .now))
            unsettled += rest.unsettled
            if rest.uncommitted > 0 { uncommitted[reader.partition] = rest.uncommitted }
            if readers[reader.partition] === reader { readers[reader.partition] = nil }
            poison?.ended(reader.partition)
        }
        backedOff.remove(Set(ending.map { ObjectIdentifier($0) }))
        commits.ended(
            ending,
            KafkaError(
                .assignmentEnded,
                recovery: .retry,
                reason: "the partition went to another member before the commit"
            )
        )
        self.uncommitted.merge(uncommitted, uniquingKeysWith: +)
        return (unsettled, uncommitted)
    }

    /// Tells which acknowledgements were in vain, where there are any.
    private func reportUncommitted(_ uncommitted: [KafkaTopicPartition: Int]) {
        guard !uncommitted.isEmpty else { return }
        let messages = uncommitted.values.reduce(0, +)
        metrics?.noteUncommitted(messages)
        core.logger.warning(
            "Acknowledged messages were not committed before their partitions went, they are delivered again",
            metadata: ["kafka_partitions": "\(uncommitted.keys.sorted())", "kafka_messages": "\(messages)"]
        )
        core.events.send(.uncommitted(uncommitted))
    }

    private func reportCommitTooLate(_ partitions: [KafkaTopicPartition]) {
        let error = KafkaError(
            .timedOut,
            recovery: .retry,
            reason: "the partition was given back before its last commit was confirmed"
        )
        core.logger.info(
            "Partitions given back without their last commit, acknowledged messages may be delivered again",
            metadata: ["kafka_partitions": "\(partitions)"]
        )
        core.events.send(.commitFailed(partitions, error))
    }
}
