internal import CRdKafka
internal import Logging

/// The consumer's thread: answers rebalances, commits, and closes. Nothing else calls librdkafka for the group.
///
/// It sleeps in ``RdKafkaQueue/poll(timeout:)`` until librdkafka has an event, a task interrupts, or something is due.
/// Used by that thread alone, so nothing in it is locked.
final class ConsumerLoop {
    typealias Instant = ContinuousClock.Instant

    /// Partitions that are to be given back.
    struct Revocation {
        let partitions: [PartitionOffset]
        let readers: [PartitionReader]
        let drainDeadline: Instant
        /// Set when nothing in hand is waited for any more, and only the commit is.
        var commitDeadline: Instant?
    }

    struct Closing {
        enum Stage {
            /// Waits for the deliveries in hand.
            case draining(until: Instant)
            case committing(until: Instant)
            case leaving
            /// The time is up and nobody waits any longer. A client that is destroyed while it leaves its group waits for
            /// an answer to the last revocation, for ever and with a busy thread, so it gets that answer first.
            case leavingUnattended
        }

        var deadline: Instant
        var stage: Stage
        /// What was left behind in partitions that were given back since closing began.
        var unsettled = 0
        var uncommitted = 0

        var isLeaving: Bool {
            switch stage {
            case .draining, .committing: false
            case .leaving, .leavingUnattended: true
            }
        }
    }

    let core: ConsumerCore
    let clock = ContinuousClock()
    var readers: [KafkaTopicPartition: PartitionReader] = [:]
    var committer = Committer()
    var revocation: Revocation?
    var closing: Closing?
    /// Partitions to look at again, soonest first.
    private var alarms: [(due: Instant, reader: PartitionReader)] = []
    private var generation = 0
    /// Partitions that were assigned before: where the consumer was told to start counts only the first time.
    private var known: Set<KafkaTopicPartition> = []
    private var isFinished = false

    init(_ core: ConsumerCore) {
        self.core = core
    }

    func run() {
        while true {
            for command in core.takeCommands() { handle(command) }
            soundAlarms()
            advanceCommits()
            advanceRevocation()
            advanceClosing()
            if isFinished { return }
            if let event = core.queue.poll(timeout: nextTimeout()) { handle(event) }
            while let event = core.queue.poll(timeout: 0) { handle(event) }
        }
    }

    private func handle(_ command: ConsumerCore.Command) {
        switch command {
        case .subscribe:
            if let error = core.client.subscribe(to: core.configuration.topics) { fail(error) }
        case .commit(let waiter):
            beginWaiting(waiter)
        case .cancelCommit(let id):
            committer.cancel(id)?.task.continuation.resume(returning: .cancelled(persistence: nil))
        case .close(let deadline):
            beginClosing(by: deadline)
        case .wake(let reader, let due):
            alarms.insert((due, reader), at: alarms.firstIndex { $0.due > due } ?? alarms.endIndex)
        }
    }

    private func handle(_ event: consuming RdKafkaEvent) {
        switch event.kind {
        case .rebalance:
            core.client.noteJoined()
            switch event.errorCode {
            case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS: assign(event.partitions)
            default: revoke(event.partitions)
            }
        case .commitResult:
            if event.opaque == committer.id { endCommit(event.partitions, event.error) }
        case .log:
            event.log(to: core.logger)
        case .error:
            guard let error = event.error else { return }
            if event.isFatal {
                let fatal = core.client.fatalError ?? error
                core.logger.error("Consumer failed for good", metadata: ["kafka_error": "\(fatal)"])
                fail(fatal)
            } else {
                core.report(error)
            }
        case .deliveryReports, .message, .other:
            break
        }
    }

    /// The consumer cannot go on: all loops end with the error, those over one partition too.
    private func fail(_ error: KafkaError) {
        core.fail(error)
        for reader in readers.values { core.endLoops(of: reader) }
    }

    /// Offers partitions whose back-off is over to their loops.
    private func soundAlarms() {
        guard let first = alarms.first, first.due <= core.backoff.now else { return }
        let now = core.backoff.now
        let count = alarms.prefix { $0.due <= now }.count
        for alarm in alarms.prefix(count) { core.signal(alarm.reader) }
        alarms.removeFirst(count)
    }

    /// Milliseconds until something is due, -1 where nothing is.
    private func nextTimeout() -> Int32 {
        var next = committer.nextDeadline
        func consider(_ instant: Instant?) {
            if let instant { next = min(instant, next ?? instant) }
        }
        if committer.inFlight == nil { consider(committer.due) }
        if let revocation { consider(revocation.commitDeadline ?? revocation.drainDeadline) }
        if let closing {
            switch closing.stage {
            case .draining(let until), .committing(let until): consider(until)
            case .leaving: consider(closing.deadline)
            case .leavingUnattended: break
            }
        }
        if let alarm = alarms.first { consider(core.backoff.wakeTime(for: alarm.due)) }
        guard let next else { return -1 }
        let remaining = clock.now.duration(to: next)
        return remaining <= .zero ? 0 : remaining.milliseconds
    }
}

// MARK: Assignment

extension ConsumerLoop {
    private func assign(_ partitions: [PartitionOffset]) {
        generation += 1
        let starts = startingPoints(partitions)
        var assigned: [PartitionReader] = []
        for start in starts {
            guard let queue = RdKafkaQueue.partition(start.partition, of: core.client) else { continue }
            let reader = PartitionReader(
                start.partition,
                generation: generation,
                core: core,
                queue: queue,
                configuration: core.configuration
            )
            reader.start()
            readers[start.partition] = reader
            assigned.append(reader)
        }
        if let error = core.client.assign(starts) { return fail(error) }
        known.formUnion(starts.lazy.map(\.partition))
        core.logger.debug("Partitions assigned", metadata: ["kafka_partitions": "\(starts.map(\.partition))"])
        core.events.send(.assigned(starts.map(\.partition), generation: generation))
        core.offer(assigned)
    }

    /// Where each partition starts: where the group has committed, unless this consumer was told otherwise.
    private func startingPoints(_ partitions: [PartitionOffset]) -> [PartitionOffset] {
        let offset: (KafkaTopicPartition) -> Int64
        switch core.configuration.start {
        case .committed: return partitions
        case .beginning: offset = { _ in PartitionOffset.beginning }
        case .end: offset = { _ in PartitionOffset.end }
        case .offset(let given): offset = { _ in given }
        case .timestamp(let timestamp):
            let new = partitions.map(\.partition).filter { !known.contains($0) }
            guard !new.isEmpty else { return partitions }
            do {
                let found = try core.client.offsets(for: timestamp, of: new, within: .seconds(10))
                let offsets = Dictionary(found.map { ($0.partition, $0.offset) }, uniquingKeysWith: { $1 })
                offset = { offsets[$0] ?? PartitionOffset.end }
            } catch {
                fail(error)
                return partitions
            }
        }
        return partitions.map { entry in
            var entry = entry
            if !known.contains(entry.partition) { entry.offset = offset(entry.partition) }
            return entry
        }
    }

    private func revoke(_ partitions: [PartitionOffset]) {
        let revoked = partitions.compactMap { readers[$0.partition] }
        for reader in revoked { core.endLoops(of: reader) }
        revocation = Revocation(
            partitions: partitions,
            readers: revoked,
            drainDeadline: clock.now.advanced(by: core.configuration.revocationTimeout)
        )
        advanceRevocation()
    }

    /// Takes the next step of giving partitions back: wait for what is in hand, commit, unassign.
    func advanceRevocation() {
        guard var current = revocation else { return }
        let now = clock.now
        if closing?.isLeaving == true || core.client.isAssignmentLost { return finishRevocation(current) }
        if current.commitDeadline == nil {
            guard now >= current.drainDeadline || current.readers.allSatisfy({ $0.heldCount == 0 }) else { return }
            current.commitDeadline = now.advanced(by: core.configuration.revocationTimeout)
            revocation = current
            committer.schedule(at: now)
            advanceCommits()
        }
        let isCommitted = committer.inFlight == nil && current.readers.allSatisfy { $0.commitTarget == nil }
        if isCommitted || now >= current.commitDeadline ?? now { finishRevocation(current) }
    }

    private func finishRevocation(_ revocation: Revocation) {
        self.revocation = nil
        let isLost = core.client.isAssignmentLost
        let (unsettled, uncommitted) = endReaders(revocation.readers)
        closing?.unsettled += unsettled
        closing?.uncommitted += uncommitted
        if let error = core.client.unassign(revocation.partitions), !core.client.isConsumerClosed { core.report(error) }
        let partitions = revocation.partitions.map(\.partition)
        core.logger.debug(
            isLost ? "Partitions lost" : "Partitions revoked",
            metadata: ["kafka_partitions": "\(partitions)", "kafka_unsettled": "\(unsettled)"]
        )
        core.events.send(isLost ? .lost(partitions, unsettled: unsettled) : .revoked(partitions, unsettled: unsettled))
    }

    /// Ends generations.
    ///
    /// - Returns: How many deliveries had no verdict, and how many partitions had acknowledgements that did not reach
    ///   the broker.
    private func endReaders(_ ending: [PartitionReader]) -> (unsettled: Int, uncommitted: Int) {
        var unsettled = 0
        var uncommitted = 0
        let error = KafkaError(
            .assignmentEnded,
            recovery: .retry,
            reason: "the partition went to another member before the commit"
        )
        for reader in ending {
            core.endLoops(of: reader)
            let rest = reader.end()
            unsettled += rest.unsettled
            uncommitted += rest.isUncommitted ? 1 : 0
            if readers[reader.partition] === reader { readers[reader.partition] = nil }
            alarms.removeAll { $0.reader === reader }
            resume(committer.failedWaiters(reader, error))
        }
        return (unsettled, uncommitted)
    }
}

// MARK: Commits

extension ConsumerLoop {
    private func beginWaiting(_ waiter: ConsumerCore.CommitWaiter) {
        let targets = readers.values.compactMap { reader in reader.commitTarget.map { (reader, $0) } }
        committer.add(
            Committer.Waiter(task: waiter, deadline: clock.now.advanced(by: .seconds(30)), targets: targets)
        )
        committer.schedule(at: clock.now)
    }

    func advanceCommits() {
        let now = clock.now
        let count = core.uncommittedCount
        if count >= core.configuration.maximumUncommitted {
            committer.schedule(at: now)
        } else if count > 0, committer.due == nil {
            committer.schedule(at: now.advanced(by: core.configuration.commitInterval))
        }
        if committer.isDue(at: now) {
            // Before the offsets are read, so that what is acknowledged from here on starts the clock again.
            core.resetUncommittedCount()
            if let (offsets, id) = committer.begin(readers.values),
                let error = core.client.commit(offsets, resultTo: core.queue, opaque: id)
            {
                endCommit([], error)
            }
        }
        resume(committer.settledWaiters(at: now))
    }

    private func endCommit(_ results: [PartitionOffset], _ error: KafkaError?) {
        let failures = committer.end(results, error)
        if !failures.isEmpty {
            for (reader, error) in failures where error.recovery != .retry {
                resume(committer.failedWaiters(reader, error))
            }
            let partitions = failures.map(\.0.partition)
            core.logger.info(
                "Commit failed",
                metadata: ["kafka_partitions": "\(partitions)", "kafka_error": "\(failures[0].1)"]
            )
            core.events.send(.commitFailed(partitions, failures[0].1))
            committer.schedule(at: clock.now.advanced(by: Committer.retryInterval))
        }
        resume(committer.settledWaiters(at: clock.now))
    }

    private func resume(_ waiters: [(Committer.Waiter, KafkaError?)]) {
        for (waiter, error) in waiters { waiter.task.continuation.resume(returning: error) }
    }
}

// MARK: The end

extension ConsumerLoop {
    private func beginClosing(by deadline: Instant) {
        let now = clock.now
        // A quarter of the time, at most two seconds, is kept for the last commit, and as much for leaving the group.
        let reserve = min(now.duration(to: deadline) / 4, .seconds(2))
        if var closing {
            closing.deadline = min(deadline, closing.deadline)
            switch closing.stage {
            case .draining(let until): closing.stage = .draining(until: min(until, deadline - reserve * 2))
            case .committing(let until): closing.stage = .committing(until: min(until, deadline - reserve))
            case .leaving, .leavingUnattended: break
            }
            self.closing = closing
            return
        }
        for reader in readers.values { core.endLoops(of: reader) }
        closing = Closing(deadline: deadline, stage: .draining(until: deadline - reserve * 2))
    }

    /// Takes the next step of closing: wait for what is in hand, commit, leave the group.
    func advanceClosing() {
        guard let current = closing else { return }
        let now = clock.now
        switch current.stage {
        case .draining(let until):
            guard now >= until || readers.values.allSatisfy({ $0.heldCount == 0 }) else { return }
            let reserve = min(now.duration(to: current.deadline) / 2, .seconds(2))
            closing?.stage = .committing(until: current.deadline - reserve)
            committer.schedule(at: now)
            advanceCommits()
            advanceClosing()
        case .committing(let until):
            let isCommitted = committer.inFlight == nil && readers.values.allSatisfy { $0.commitTarget == nil }
            guard now >= until || (isCommitted && revocation == nil) else { return }
            closing?.stage = .leaving
            if let error = core.client.closeConsumer(eventsTo: core.queue) {
                // After a fatal error there is no group to leave.
                core.logger.debug("Group not left", metadata: ["kafka_error": "\(error)"])
                isFinished = true
                return finish()
            }
            advanceRevocation()
            advanceClosing()
        case .leaving:
            isFinished = core.client.isConsumerClosed
            guard isFinished || now >= current.deadline else { return }
            closing?.stage = .leavingUnattended
            finish()
        case .leavingUnattended:
            isFinished = core.client.isConsumerClosed
        }
    }

    private func finish() {
        let hasLeft = core.client.isConsumerClosed
        if !hasLeft { core.logger.warning("Consumer closed without leaving its group in time") }
        let (unsettled, uncommitted) = endReaders(Array(readers.values))
        resume(committer.allWaiters(.closed(persistence: nil)))
        core.finish(
            KafkaConsumer.CloseSummary(
                unsettled: unsettled + (closing?.unsettled ?? 0),
                uncommittedPartitions: uncommitted + (closing?.uncommitted ?? 0),
                lateVerdicts: core.lateCount,
                leftGroup: hasLeft
            )
        )
    }
}
