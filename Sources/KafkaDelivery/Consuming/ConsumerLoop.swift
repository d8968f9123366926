internal import Logging
internal import Synchronization

/// The consumer's thread: answers rebalances, commits, and closes. Nothing else calls librdkafka for the group.
///
/// It sleeps in ``RdKafkaQueue/poll(timeout:)`` until librdkafka has an event, a task interrupts, or something is due. Each of its
/// duties has an object of its own, which is told what happened and when there is time for its next step; what several of them have
/// to know of each other the loop passes on. Used by that thread alone, so nothing in it is locked.
final class ConsumerLoop {
    private let core: ConsumerCore
    private let client: RdKafkaClient
    private let queue: RdKafkaQueue
    private let subscription: GroupSubscription
    private let assignment: ConsumerAssignment
    private let starts: PartitionStarts
    private let commits: OffsetCommits
    private let failed: FailedPartitions
    private let missing: MissingPartitionSearch
    private let stuck: StuckHandlers
    /// Nil where messages that kill the process are not looked for.
    private let poison: PoisonSearch?
    /// Nil where the process collects none.
    private let metrics: ConsumerMetrics?
    private var closing = ConsumerClosing()

    /// What a consumer's thread runs until the consumer is closed.
    static func serve(_ core: ConsumerCore, _ client: RdKafkaClient, _ queue: RdKafkaQueue) {
        ConsumerLoop(core, client, queue).run()
    }

    private init(_ core: ConsumerCore, _ client: RdKafkaClient, _ queue: RdKafkaQueue) {
        self.core = core
        self.client = client
        self.queue = queue
        metrics = ConsumerMetrics(
            clientID: core.configuration.clientID,
            group: core.configuration.group,
            factory: core.configuration.metricsFactory,
            interval: core.configuration.metricsInterval
        )
        poison = PoisonSearch(core, client)
        stuck = StuckHandlers(core, otherInterval: metrics?.interval)
        starts = PartitionStarts(core, client)
        commits = OffsetCommits(core, client, queue, poison, metrics)
        failed = FailedPartitions(core, client)
        missing = MissingPartitionSearch(core, client)
        subscription = GroupSubscription(core, client)
        assignment = ConsumerAssignment(core, client, starts, commits, stuck, poison, metrics)
    }

    private func run() {
        while true {
            client.groupLog?.write(to: core.logger)
            assignment.tellResets()
            for command in core.takeCommands() { handle(command) }
            advance()
            if closing.hasEnded { return }
            if let event = queue.poll(timeout: nextTimeout()) { handle(event) }
            while let event = queue.poll(timeout: 0) { handle(event) }
        }
    }

    /// Takes the next step of each duty.
    private func advance() {
        let isClosing = closing.isUnderWay
        assignment.wakeBackedOff()
        starts.advance()
        failed.advance(assignment.readers, isRevoking: assignment.isRevoking, isClosing: isClosing)
        missing.advance(isClosing: isClosing)
        if poison?.advance(assignment.readers) == true { commits.schedule() }
        assignment.advanceCommits(isClosing: isClosing)
        assignment.advanceRevocation(&closing)
        stuck.advance(assignment.readers.values, isClosing: isClosing)
        advanceGroupLeave()
        advanceMetrics()
        advanceClosing()
    }

    // MARK: What happened

    private func handle(_ command: ConsumerCore.Command) {
        switch command {
        case .subscribe:
            begin()
        case .subscribeTo(let topics):
            // While the group is left nothing may wait for librdkafka's main thread any more, see ConsumerAssignment.giveBack.
            if subscription.add(topics), !closing.isUnderWay { begin() }
        case .commit(let waiter):
            commits.wait(waiter, for: assignment.readers.values)
        case .cancelCommit(let id):
            commits.cancelWait(id)
        case .awaitCommitUnderWay(let wait):
            commits.waitForEnd(wait)
        case .close(let deadline):
            if closing.begin(by: deadline, at: .now) { assignment.endLoops(of: assignment.readers.values) }
        case .committed(let readers, let result):
            poison?.read(assignment.current(readers), result)
        case .ask:
            commits.schedule()
        case .wake(let reader, let due):
            if !assignment.current([reader]).isEmpty { assignment.backOff(reader, until: due) }
        case .found(let found):
            if !closing.isUnderWay { missing.found(found) }
        case .restart(let restart):
            failed.add(restart)
        case .committedBeforeStart(let readers, let offsets):
            starts.committedBeforeStart(assignment.current(readers), offsets)
        case .startingOffset(let reader, let result):
            starts.answered(reader, result)
        case .started(let reader):
            if !assignment.current([reader]).isEmpty { starts.started(reader.partition) }
        case .start(let readers, let start, let due):
            starts.postpone(readers, to: start, due: due)
        }
    }

    private func handle(_ event: consuming RdKafkaEvent) {
        switch event.kind {
        case .rebalance:
            client.noteJoined()
            if event.isAssignment {
                assignment.assign(event.partitions, closing)
            } else {
                assignment.revoke(event.partitions, &closing)
            }
        case .commitResult:
            guard commits.isAwaited(event.opaque) else { return }
            commits.end(
                event.partitions,
                event.error,
                assignment.readers.values,
                isRevoking: assignment.isRevoking
            )
        case .log:
            event.log(to: core.logger)
        case .error:
            guard let error = event.error.map(client.explain) else { return }
            // Without a group there is one all the same for librdkafka, which the client need not be allowed to use.
            if !core.configuration.hasGroup, error.code == "GROUP_AUTHORIZATION_FAILED" { return }
            if event.isFatal {
                let fatal = client.fatalError ?? error
                core.logger.error("Consumer failed for good", metadata: ["kafka_error": "\(fatal)"])
                assignment.fail(fatal)
            } else if let refusal = error.refusalToJoin(core.configuration) {
                failToJoin(refusal)
            } else {
                core.report(error)
            }
        case .deliveryReports, .message, .other:
            break
        }
    }

    // MARK: The group

    /// Joins the group, or takes the partitions that were named.
    private func begin() {
        if let partitions = core.assignment.withLock({ $0 }) {
            assignment.assign(partitions, closing)
        } else if core.configuration.joinsGroup {
            if let error = subscription.join() { assignment.fail(error) }
        } else {
            let partitions = Set(core.configuration.partitions).sorted()
            assignment.assign(
                partitions.map { PartitionOffset(partition: $0, offset: PartitionOffset.none) },
                closing
            )
            missing.begin()
        }
    }

    /// The group's coordinator refuses this member, and would each time.
    private func failToJoin(_ refusal: KafkaError) {
        // librdkafka asks again every second until it hears that the group is left.
        guard core.failure == nil else { return }
        core.logger.error("The group cannot be joined", metadata: ["kafka_error": "\(refusal)"])
        assignment.fail(refusal)
        // Otherwise it might be let in later, and hold partitions that nothing reads.
        if closing.isUnderWay { subscription.end() } else { subscription.leave() }
    }

    /// Leaves the group because of a stuck handler, and joins again when what was stuck has ended.
    private func advanceGroupLeave() {
        guard !closing.isUnderWay else { return }
        switch stuck.advanceLeave(mayLeave: subscription.maySayGoodbye, isOut: assignment.isOut) {
        case .leave:
            subscription.leave()
        case .rejoin:
            core.logger.notice("Joining the group again")
            begin()
        case nil:
            break
        }
    }

    // MARK: The end

    /// Takes the next step of closing: wait for what is in hand, commit, leave the group.
    private func advanceClosing() {
        while closing.isUnderWay {
            let actions = closing.advance(
                at: .now,
                isDrained: assignment.isDrained,
                isCommitted: commits.areDone(assignment.readers.values)
                    && (!assignment.isRevoking || assignment.isReadyToLeave),
                maySayGoodbye: subscription.maySayGoodbye,
                hasLeft: client.isConsumerClosed
            )
            guard !actions.isEmpty else { return }
            for action in actions {
                switch action {
                case .commit:
                    commits.release()
                    commits.schedule()
                    assignment.advanceCommits(isClosing: true)
                case .leave: leave()
                case .finish: finish()
                }
            }
        }
    }

    private func leave() {
        // An eager group's revocation that is under way is not answered at all: told to leave, librdkafka does not wait for
        // it any more, and answered before it would join again first. A cooperative group's is answered afterwards:
        // librdkafka 2.0.2 leaves without saying so to the group where it is told while partitions are on their way back.
        closing.told(waitsForAnswer: !assignment.isRevoking || client.isCooperative)
        if let error = client.closeConsumer(eventsTo: queue) {
            // After a fatal error there is no group to leave.
            core.logger.debug("Group not left", metadata: ["kafka_error": "\(error)"])
            closing.end()
            return finish()
        }
        assignment.advanceRevocation(&closing)
    }

    private func finish() {
        let hasLeft = client.isConsumerClosed && !closing.isSilent
        if !hasLeft { core.logger.warning("Consumer closed without leaving its group in time") }
        let unsettled = assignment.endAll()
        exportMetrics()
        commits.finish()
        failed.finish()
        core.finish(
            KafkaCloseSummary(
                unsettled: unsettled + closing.unsettled,
                uncommitted: assignment.uncommitted,
                lateVerdicts: core.lateCount,
                leftGroup: hasLeft
            )
        )
    }

    // MARK: Metrics

    /// Brings metrics up to date, where that is due.
    private func advanceMetrics() {
        guard !assignment.readers.isEmpty, let next = metrics?.next, next <= .now else { return }
        exportMetrics()
    }

    private func exportMetrics() {
        guard let metrics else { return }
        let now = ContinuousClock.now
        metrics.export(
            ConsumerSnapshot(
                partitions: assignment.readers.mapValues { $0.snapshot(stuck.clock, at: now) },
                lateVerdicts: core.lateCount,
                events: core.events.counts
            ),
            at: now
        )
    }

    // MARK: Waiting

    /// Milliseconds until something is due, -1 where nothing is.
    private func nextTimeout() -> Int32 {
        var due: [ContinuousClock.Instant?] = [
            commits.next, poison?.next, starts.next, failed.next, missing.next, assignment.nextRevocation, closing.next,
            assignment.nextBackedOff.flatMap { core.backoff.wakeTime(for: $0) },
        ]
        if !assignment.readers.isEmpty {
            // Reading a partition makes librdkafka count the time since then towards max.poll.interval.ms, whatever this
            // thread waits for. So where there is something to lose, it shows up in good time.
            due += [stuck.next, metrics?.next, .now.advanced(by: core.configuration.maximumPollInterval / 3)]
        }
        guard let next = due.compactMap({ $0 }).min() else { return -1 }
        let remaining = ContinuousClock.now.duration(to: next)
        return remaining <= .zero ? 0 : remaining.milliseconds
    }
}
