internal import Logging

/// Partitions come and go.
extension ConsumerLoop {
    func assign(_ partitions: [PartitionOffset]) {
        committer.release()
        if closing?.isLeaving == true {
            // It came while the group is being left: nothing is taken on any more, and the group waits for no answer.
            return
        }
        generation += 1
        let unresolved = beginReturning()
        defer { finishReturning(unresolved) }
        // The clock stands still while nothing is assigned.
        if watch.interval != nil { core.setStamp(watch.pulse(at: clock.now)) }
        let starts = startingPoints(partitions)
        var assigned: [PartitionReader] = []
        for start in starts {
            guard let queue = RdKafkaQueue.partition(start.partition, of: client) else { continue }
            let reader = PartitionReader(
                start.partition,
                generation: generation,
                core: core,
                queue: queue,
                startingOffset: start.offset,
                configuration: core.configuration
            )
            reader.start()
            readers[start.partition] = reader
            assigned.append(reader)
        }
        beginCountingCrashes(assigned)
        let isAskedAbout = askForStartingOffsets(assigned)
        let sought = isAskedAbout ? [] : assigned.filter { isSought($0.partition) && $0.beginSeek() }
        if let error = client.assign(starts) {
            // The group waits for an answer, and so it gets one.
            _ = client.unassign(starts)
            return fail(error)
        }
        let placed = starts.map(\.partition).filter { !isSought($0) }
        known.formUnion(placed)
        core.noteAssigned(assigned)
        for reader in assigned { metrics?.begin(reader.partition, generation: reader.generation) }
        core.logger.debug("Partitions assigned", metadata: ["kafka_partitions": "\(starts.map(\.partition))"])
        core.events.send(.assigned(starts.map(\.partition), generation: generation))
        guard closing == nil else {
            core.endLoops(of: assigned)
            cancelStartingOffsets(of: assigned)
            return
        }
        core.offer(assigned)
        // The queue may hold markers of an earlier generation that were not read any more: then it is not empty, and
        // librdkafka does not say that it stops being so. The loop that looks clears them away.
        for reader in assigned { core.signal(reader) }
        if !sought.isEmpty { core.bring(sought, to: core.configuration.start) }
    }

    /// Where each partition starts: where the group has committed, unless this consumer was told otherwise.
    private func startingPoints(_ partitions: [PartitionOffset]) -> [PartitionOffset] {
        let offset: Int64
        switch core.configuration.start {
        case .committed where core.configuration.hasGroup: return partitions
        // librdkafka would ask for the offsets of the group that it was given in place of none.
        case .committed:
            offset = core.configuration.autoOffsetReset == .end ? PartitionOffset.end : PartitionOffset.beginning
        case .beginning: offset = PartitionOffset.beginning
        // Until it is known where that is, there is no need to fetch much.
        case .end, .timestamp, .offset, .last: offset = PartitionOffset.end
        }
        return partitions.map { entry in
            var entry = entry
            if !known.contains(entry.partition) { entry.offset = offset }
            return entry
        }
    }

    /// Whether a partition starts at an offset that has to be looked up: it is accepted at once, because the group waits
    /// for the answer, and nothing is handed out until it was brought there.
    ///
    /// An offset that was given is one of those: given to librdkafka, one that the partition does not hold would lead to where
    /// a new group starts, and so to all messages once more, without a word.
    func isSought(_ partition: KafkaTopicPartition) -> Bool {
        switch core.configuration.start {
        case .timestamp, .offset, .last: !known.contains(partition)
        case .committed, .beginning, .end: false
        }
    }

    /// Tries again to bring partitions elsewhere.
    func advanceStarts() {
        let now = clock.now
        let due = lateStarts.filter { $0.due <= now }
        guard !due.isEmpty else { return }
        lateStarts.removeAll { $0.due <= now }
        for start in due { core.bring(start.readers, to: start.start) }
    }

    func revoke(_ partitions: [PartitionOffset]) {
        committer.release()
        let revoked = partitions.compactMap { readers[$0.partition] }
        core.endLoops(of: revoked)
        cancelStartingOffsets(of: revoked)
        revocation = Revocation(
            partitions: partitions,
            readers: revoked,
            drainDeadline: clock.now.advanced(by: core.configuration.revocationLimit.asTimeout)
        )
        advanceRevocation()
    }

    /// Takes the next step of giving partitions back: wait for what is in hand, commit, unassign.
    func advanceRevocation() {
        guard var current = revocation else { return }
        let now = clock.now
        if closing?.isLeaving == true || client.isAssignmentLost { return finishRevocation(current) }
        if current.commitDeadline == nil {
            guard now >= current.drainDeadline || current.readers.allSatisfy(isDrained) else { return }
            current.commitDeadline = now.advanced(by: core.configuration.revocationLimit.asTimeout)
            revocation = current
            committer.schedule(at: now)
            advanceCommits()
        }
        let isCommitted = committer.inFlight == nil && current.readers.allSatisfy { $0.commitTarget == nil }
        guard isCommitted || now >= current.commitDeadline ?? now else { return }
        // A member that is closing takes its leave with this. Given back before, the partitions would be followed by another
        // join, in which it cannot.
        if closing != nil, isReadyToLeave { return }
        finishRevocation(current)
    }

    /// Whether nothing in hand is worth waiting for: what made the consumer leave its group is not.
    private func isDrained(_ reader: PartitionReader) -> Bool {
        groupLeave.isUnderWay ? reader.busyCount == 0 : reader.heldCount == 0
    }

    private func finishRevocation(_ revocation: Revocation) {
        self.revocation = nil
        committer.release()
        let isLost = client.isAssignmentLost
        let (unsettled, uncommitted) = endReaders(revocation.readers)
        closing?.unsettled += unsettled
        let unresolved = beginReturning()
        giveBack(revocation.partitions)
        finishReturning(unresolved)
        if closing == nil, !isLost, core.configuration.groupProtocol == .classic, client.isCooperative {
            // The member joins again at once, for a generation that the group may be in before the answer is here.
            committer.hold(until: clock.now.advanced(by: .seconds(10)))
        }
        let partitions = revocation.partitions.map(\.partition)
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
    private func giveBack(_ partitions: [PartitionOffset]) {
        switch closing?.answers ?? .all {
        case .all:
            if let error = client.unassign(partitions) { core.report(error) }
        case .last:
            closing?.answers = .none
            let client = client
            if !BlockingThread.start("kafka-leave", { client.unassignAll() }) { client.unassignAll() }
        case .none:
            break
        }
    }

    /// Tells which acknowledgements were in vain, where there are any.
    func reportUncommitted(_ uncommitted: [KafkaTopicPartition: Int]) {
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

    /// Ends generations.
    ///
    /// - Returns: How many deliveries had no verdict, and how many acknowledgements did not reach the broker, as far as we
    ///   know, for the partitions that had any.
    func endReaders(_ ending: [PartitionReader]) -> (unsettled: Int, uncommitted: [KafkaTopicPartition: Int]) {
        var unsettled = 0
        var uncommitted: [KafkaTopicPartition: Int] = [:]
        let error = KafkaError(
            .assignmentEnded,
            recovery: .retry,
            reason: "the partition went to another member before the commit"
        )
        core.endLoops(of: ending)
        cancelStartingOffsets(of: ending)
        for reader in ending {
            let rest = reader.end()
            core.noteEnded(reader)
            metrics?.end(reader.partition, generation: reader.generation, reader.snapshot(watch, at: clock.now))
            unsettled += rest.unsettled
            if rest.uncommitted > 0 { uncommitted[reader.partition] = rest.uncommitted }
            if readers[reader.partition] === reader { readers[reader.partition] = nil }
            committer.forget(reader.partition)
            crashes.turns.remove(reader.partition)
        }
        let ended = Set(ending.map { ObjectIdentifier($0) })
        backedOff.remove(ended)
        resume(committer.failedWaiters(ended, error))
        self.uncommitted.merge(uncommitted, uniquingKeysWith: +)
        return (unsettled, uncommitted)
    }
}
