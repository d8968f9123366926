internal import Logging
internal import Synchronization

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
            /// Waits for the answer to a join that is under way, or for the coordinator: before it the group would not be told.
            case joining(until: Instant)
            case leaving
            /// The time is up, and `close` does not wait any longer. A client that is destroyed while it leaves its group waits for
            /// an answer to the last revocation, for ever and with a busy thread, so it gets that answer first.
            case leavingUnattended
        }

        /// Which answers to rebalances librdkafka may still be given.
        enum Answers {
            /// It has not been told to leave, and answers every call.
            case all
            /// It has, and waits for the partitions once at most.
            case last
            case none
        }

        var deadline: Instant
        var stage: Stage
        var answers = Answers.all
        /// What was left behind in partitions that were given back since closing began.
        var unsettled = 0
        /// Whether the group was not told, because that was not possible in time.
        var isSilent = false

        var isLeaving: Bool {
            switch stage {
            case .draining, .committing, .joining: false
            case .leaving, .leavingUnattended: true
            }
        }
    }

    let core: ConsumerCore
    let client: RdKafkaClient
    let queue: RdKafkaQueue
    let clock = ContinuousClock()
    var readers: [KafkaTopicPartition: PartitionReader] = [:]
    var committer = Committer()
    /// Transactions that must not be overtaken by the commit under way.
    var waitersForEndOfCommit: [TimedWait<Bool>] = []
    var revocation: Revocation?
    var closing: Closing?
    var backedOff = BackedOffPartitions<PartitionReader>()
    /// Partitions to be brought elsewhere, often to where the consumer was told to start, tried before in vain.
    var lateStarts: [(due: Instant, readers: [PartitionReader], start: KafkaConsumer.Configuration.Start)] = []
    /// Partitions that the application is asked about, and the tasks in which it answers.
    var startingOffsets = StartingOffsets<PartitionReader>()
    var questions: [ObjectIdentifier: Task<Void, Never>] = [:]
    /// Named partitions that do not exist, as far as is known, and when to look for them next.
    var missing: Set<KafkaTopicPartition> = []
    var nextSearch: Instant?
    /// Partitions that librdkafka has given up, and that are to be read again.
    var restarts: [PartitionRestart] = []
    var watch: StuckHandlerClock
    var metrics: ConsumerMetrics?
    var groupLeave = GroupLeave<PartitionReader>()
    var generation = 0
    /// Acknowledgements, in the life of the consumer, whose partition went before they were committed.
    var uncommitted: [KafkaTopicPartition: Int] = [:]
    /// Partitions that were assigned before: where the consumer was told to start counts only the first time.
    var known: Set<KafkaTopicPartition> = []
    var crashes: Crashes
    /// Topics that are read beside the configured ones.
    var moreTopics: Set<String> = []
    var isSubscribed = false
    var isFinished = false

    init(_ core: ConsumerCore, _ client: RdKafkaClient, _ queue: RdKafkaQueue) {
        self.core = core
        self.client = client
        self.queue = queue
        self.metrics = ConsumerMetrics(
            clientID: core.configuration.clientID,
            group: core.configuration.group,
            factory: core.configuration.metricsFactory,
            interval: core.configuration.metricsInterval
        )
        self.crashes = Crashes(maximum: core.configuration.maximumCrashes)
        self.watch = StuckHandlerClock(
            limit: core.configuration.handlerTimeout,
            otherInterval: metrics?.interval
        )
    }

    func run() {
        while true {
            client.groupLog?.write(to: core.logger)
            tellResets()
            for command in core.takeCommands() { handle(command) }
            wakeBackedOffPartitions()
            advanceStarts()
            advanceStartingOffsets()
            advanceRestarts()
            advanceSearch()
            advanceCrashCounts()
            advanceCommits()
            advanceRevocation()
            advanceWatch()
            advanceGroupLeave()
            advanceMetrics()
            advanceClosing()
            if isFinished { return }
            if let event = queue.poll(timeout: nextTimeout()) { handle(event) }
            while let event = queue.poll(timeout: 0) { handle(event) }
        }
    }

    private func handle(_ command: ConsumerCore.Command) {
        switch command {
        case .subscribe:
            begin()
        case .subscribeTo(let topics):
            let known = moreTopics
            moreTopics.formUnion(topics)
            // While the group is left nothing may wait for librdkafka's main thread any more, see giveBack.
            if isSubscribed, moreTopics != known, closing == nil { begin() }
        case .commit(let waiter):
            beginWaiting(waiter)
        case .cancelCommit(let id):
            committer.cancel(id)?.task.continuation.resume(returning: .cancelled(persistence: nil))
        case .awaitCommitUnderWay(let wait):
            if committer.inFlight == nil { wait.resume(true) } else { waitersForEndOfCommit.append(wait) }
        case .close(let deadline):
            beginClosing(by: deadline)
        case .committed(let readers, let result):
            handleCommitted(readers, result)
        case .ask:
            handleAsk()
        case .wake(let reader, let due):
            backedOff.add(reader, due: due)
        case .found(let missing):
            handleFound(missing)
        case .restart(let restart):
            restarts.append(restart)
        case .committedBeforeStart(let readers, let offsets):
            handleCommittedBeforeStart(readers, offsets)
        case .startingOffset(let reader, let result):
            handleStartingOffset(reader, result)
        case .started(let reader):
            if readers[reader.partition] === reader { known.insert(reader.partition) }
        case .start(let readers, let start, let due):
            lateStarts.append((due, readers, start))
        }
    }

    private func handle(_ event: consuming RdKafkaEvent) {
        switch event.kind {
        case .rebalance:
            client.noteJoined()
            if event.isAssignment { assign(event.partitions) } else { revoke(event.partitions) }
        case .commitResult:
            if event.opaque == committer.id { endCommit(event.partitions, event.error) }
        case .log:
            event.log(to: core.logger)
        case .error:
            guard let error = event.error.map(client.explain) else { return }
            // Without a group there is one all the same for librdkafka, which the client need not be allowed to use.
            if !core.configuration.hasGroup, error.code == "GROUP_AUTHORIZATION_FAILED" { return }
            if event.isFatal {
                let fatal = client.fatalError ?? error
                core.logger.error("Consumer failed for good", metadata: ["kafka_error": "\(fatal)"])
                fail(fatal)
            } else if let refusal = error.refusalToJoin(core.configuration) {
                failToJoin(refusal)
            } else {
                core.report(error)
            }
        case .deliveryReports, .message, .other:
            break
        }
    }

    /// Joins the group, or takes the partitions that were named.
    func begin() {
        let configuration = core.configuration
        if let assignment = core.assignment.withLock({ $0 }) {
            assign(assignment)
        } else if configuration.joinsGroup {
            // The first time, the group is joined, and what is assigned is waited for.
            if !isSubscribed { client.noteJoining() }
            isSubscribed = true
            let topics = configuration.topics + moreTopics.subtracting(configuration.topics).sorted()
            if let error = client.subscribe(to: topics) { fail(error) }
            if configuration.groupProtocol == .consumer { core.reportMissingTopics(topics) }
        } else {
            let partitions = Set(configuration.partitions).sorted()
            assign(partitions.map { PartitionOffset(partition: $0, offset: PartitionOffset.none) })
            nextSearch = clock.now
        }
    }

    /// The group's coordinator refuses this member, and would each time.
    private func failToJoin(_ refusal: KafkaError) {
        // librdkafka asks again every second until it hears that the group is left.
        guard core.failure == nil else { return }
        core.logger.error("The group cannot be joined", metadata: ["kafka_error": "\(refusal)"])
        fail(refusal)
        // Otherwise it might be let in later, and hold partitions that nothing reads.
        isSubscribed = false
        if closing == nil, let error = client.unsubscribe() { core.report(error) }
    }

    /// The consumer cannot go on: all loops end with the error, those over one partition too.
    func fail(_ error: KafkaError) {
        core.fail(error)
        core.endLoops(of: readers.values)
    }

    /// Offers partitions whose back-off is over to their loops.
    private func wakeBackedOffPartitions() {
        guard let next = backedOff.next, next <= core.backoff.now else { return }
        for case .offer(let reader) in backedOff.advance(at: core.backoff.now) { core.signal(reader) }
    }

    /// Milliseconds until something is due, -1 where nothing is.
    private func nextTimeout() -> Int32 {
        var next = committer.nextDeadline
        func consider(_ instant: Instant?) {
            if let instant { next = min(instant, next ?? instant) }
        }
        consider(committer.nextBegin)
        consider(nextNoteReading)
        consider(lateStarts.map(\.due).min())
        consider(startingOffsets.next)
        consider(restarts.map(\.deadline).min())
        consider(nextSearch)
        if let revocation { consider(revocation.commitDeadline ?? revocation.drainDeadline) }
        if let closing {
            switch closing.stage {
            case .draining(let until), .committing(let until), .joining(let until): consider(until)
            case .leaving: consider(closing.deadline)
            case .leavingUnattended: break
            }
        }
        if let due = backedOff.next { consider(core.backoff.wakeTime(for: due)) }
        // Reading a partition makes librdkafka count the time since then towards max.poll.interval.ms, whatever this
        // thread waits for. So where there is something to lose, it shows up in good time.
        if !readers.isEmpty { consider(watch.next) }
        if !readers.isEmpty { consider(metrics?.next) }
        if !readers.isEmpty { consider(clock.now.advanced(by: core.configuration.maximumPollInterval / 3)) }
        guard let next else { return -1 }
        let remaining = clock.now.duration(to: next)
        return remaining <= .zero ? 0 : remaining.milliseconds
    }
}
