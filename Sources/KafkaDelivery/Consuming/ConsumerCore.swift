internal import DequeModule
internal import Logging
internal import Synchronization

/// What the application's tasks and the consumer's thread share: which partitions can be read, what the thread is asked
/// to do, and how it ended.
final class ConsumerCore: Sendable {
    /// What a task asks of the thread.
    enum Command: Sendable {
        case subscribe
        /// Reads these topics too.
        case subscribeTo([String])
        case commit(CommitWaiter)
        case cancelCommit(UInt64)
        case close(deadline: ContinuousClock.Instant)
        /// Counts starts from the next assignment on.
        case guardStarts(maximum: Int)
        /// The committed offsets of newly assigned partitions.
        case committed([PartitionReader], Result<[PartitionOffset], KafkaError>)
        /// A message waits for a commit, or for its turn.
        case ask
        /// Wait for the end of the commit under way.
        case awaitCommitUnderWay(TimedWait<Bool>)
        /// A rejected delivery is due then.
        case wake(PartitionReader, at: ContinuousClock.Instant)
        /// A partition was brought to where the consumer was told to start.
        case started(PartitionReader)
        /// Partitions are to be brought there, again.
        case start([PartitionReader], at: ContinuousClock.Instant)
    }

    struct CommitWaiter: Sendable {
        let id: UInt64
        let continuation: CheckedContinuation<KafkaError?, Never>
    }

    struct State {
        var ready = ReadyPartitions()
        /// Assigned and not yet seen by a loop over `partitions`.
        var unseen: [(reader: PartitionReader, givenBackBy: UInt64)] = []
        /// Loops that wait for one, by number: a loop that was started later has a greater one.
        var assignmentWaiters: [(waiter: ReadyPartitions.Waiter, loop: UInt64)] = []
        var commands: [Command] = []
        /// What is ours in this generation.
        var assigned: [KafkaTopicPartition: PartitionReader] = [:]
        var isSubscribed = false
        var phase = Phase.open
        var failure: KafkaError?
        var closeWaiters: [CheckedContinuation<Void, Never>] = []
        var summary = KafkaConsumer.CloseSummary()
    }

    enum Phase {
        case open
        /// Nothing more is handed out.
        case closing
        /// The thread is gone.
        case closed
    }

    let client: RdKafkaClient
    let queue: RdKafkaQueue
    let configuration: KafkaConsumer.Configuration
    let logger: Logger
    let events = EventHub()
    /// What back-off is measured with.
    let backoff: any BackoffClock
    /// Whether what is acknowledged is committed. A redrive commits by itself, with metadata.
    let commits: Bool
    /// What to read without joining the group; nil joins it. Set before the first loop begins.
    let assignment = Mutex<[PartitionOffset]?>(nil)
    // Loops, librdkafka's threads (through signal) and the consumer's thread meet here. Last in the lock order:
    // nothing else is locked, and librdkafka is not called, while it is held.
    let state = Mutex(State())
    /// Where calls that wait for the brokers are made.
    let blocking = BlockingQueue("kafka-control")
    /// How often any partition began again at another offset.
    private let restarts = Atomic(0)
    /// Where the coarse clock stands, see ``HandlingWatch``.
    private let coarseNow = Atomic<HandlingWatch.Stamp>(0)
    /// Acknowledgements since the last commit began.
    private let uncommitted = Atomic(0)
    /// Verdicts that came after their partition had gone.
    private let late = Atomic(0)

    init(
        _ configuration: KafkaConsumer.Configuration,
        logger: Logger,
        backoff: any BackoffClock,
        commits: Bool = true
    ) throws(KafkaError) {
        self.commits = commits
        self.client = try configuration.rdKafka().makeConsumer()
        guard let queue = RdKafkaQueue.consumer(of: client) else {
            throw KafkaError(.client, recovery: .retry, reason: "librdkafka gave no queue for the consumer")
        }
        self.queue = queue
        self.configuration = configuration
        self.logger = logger
        self.backoff = backoff
        client.groupLog?.wake(queue.raw)
        guard BlockingThread.start("kafka-consumer", { ConsumerLoop(self).run() }) else {
            throw KafkaError(.client, recovery: .retry, reason: "the system has no thread left for the consumer")
        }
    }

    deinit {
        client.groupLog?.wake(nil)
    }
}

// MARK: For loops over deliveries

extension ConsumerCore {
    /// The next partition that may have something to read. Waits for one.
    func nextReady() async -> ReadyPartitions.Wake {
        subscribe()
        if let wake = state.withLock({ $0.ready.next() }) { return wake }
        return await wait { state, waiter in state.ready.wait(waiter) }
    }

    /// The next partition that may have something to read; nil where there is none until some time.
    func nextReady(until deadline: ContinuousClock.Instant) async -> ReadyPartitions.Wake? {
        subscribe()
        if let wake = state.withLock({ $0.ready.next() }) { return wake }
        let id = WaiterID.next()
        let timer = Task.detached {
            // Time is what is waited for.
            if (try? await Task.sleep(until: deadline, clock: .continuous)) != nil { self.cancelWait(id, for: nil) }
        }
        defer { timer.cancel() }
        let wake = await wait(as: id) { state, waiter in state.ready.wait(waiter) }
        if case .ended = wake, ContinuousClock.now >= deadline { return nil }
        return wake
    }

    func putBack(_ reader: PartitionReader, mayHaveMore: Bool) {
        let resumption = state.withLock { $0.ready.putBack(reader, mayHaveMore: mayHaveMore) }
        if let resumption { resumption.waiter.continuation.resume(returning: resumption.wake) }
    }

    func claim(_ reader: PartitionReader) {
        state.withLock { $0.ready.claim(reader) }
    }

    /// Nobody has hold of a partition any longer that was given to a loop over `partitions`. A loop that is started later
    /// gets it; not the same one, which did not want it.
    func release(_ reader: PartitionReader, from loop: UInt64) {
        resume(
            state.withLock { state -> [ReadyPartitions.Resumption] in
                guard state.phase == .open, state.failure == nil, !reader.hasEnded else { return [] }
                state.unseen.append((reader, givenBackBy: loop))
                return [state.ready.release(reader)].compactMap(\.self) + state.matchUnseen()
            }
        )
    }

    /// Waits for news of a partition that the caller reads alone.
    func waitForNews(of reader: PartitionReader) async -> ReadyPartitions.Wake {
        await wait(for: reader) { state, waiter in state.ready.wait(waiter, for: reader) }
    }

    /// The next newly assigned partition. Waits for one; nil when the consumer is closed or the task cancelled.
    ///
    /// - Parameter loop: The number of the loop that asks.
    func nextAssigned(for loop: UInt64) async -> PartitionReader? {
        subscribe()
        if Task.isCancelled { return nil }
        let wake = await wait { state, waiter in
            if state.phase != .open || state.failure != nil { return .ended }
            if let index = state.unseen.firstIndex(where: { $0.givenBackBy < loop }) {
                return .partition(state.unseen.remove(at: index).reader)
            }
            state.assignmentWaiters.append((waiter, loop))
            return nil
        }
        guard case .partition(let reader) = wake else { return nil }
        return reader
    }

    private func wait(
        as id: UInt64 = WaiterID.next(),
        for reader: PartitionReader? = nil,
        _ register: (inout State, ReadyPartitions.Waiter) -> ReadyPartitions.Wake?
    ) async -> ReadyPartitions.Wake {
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let waiter = ReadyPartitions.Waiter(id: id, continuation: continuation)
                if let wake = state.withLock({ register(&$0, waiter) }) {
                    continuation.resume(returning: wake)
                } else if Task.isCancelled {
                    // Cancelled before the waiter was there: its handler has run already and found nobody.
                    cancelWait(id, for: reader)
                }
            }
        } onCancel: {
            cancelWait(id, for: reader)
        }
    }

    private func cancelWait(_ id: UInt64, for reader: PartitionReader?) {
        let waiter = state.withLock { state in
            state.ready.cancel(id, for: reader)
                ?? state.assignmentWaiters.firstIndex { $0.waiter.id == id }
                .map { state.assignmentWaiters.remove(at: $0).waiter }
        }
        waiter?.continuation.resume(returning: .ended)
    }

    /// There is something to read in a partition, or room to read more.
    func signal(_ reader: PartitionReader) {
        for resumption in state.withLock({ $0.ready.signal(reader) }) {
            resumption.waiter.continuation.resume(returning: resumption.wake)
        }
    }

    var failure: KafkaError? { state.withLock { $0.failure } }
}

// MARK: For the application

extension ConsumerCore {
    /// Reads the retry topics of the configured topics too.
    func subscribeToRetries(_ topics: KafkaRetryTopics?) {
        guard let topics, configuration.joinsGroup else { return }
        let names = topics.topics(of: configuration.topics)
        if !names.isEmpty { send(.subscribeTo(names)) }
    }

    /// Joins the group, once.
    private func subscribe() {
        let isFirst = state.withLock { state in
            guard !state.isSubscribed, state.phase == .open else { return false }
            state.isSubscribed = true
            state.commands.append(.subscribe)
            return true
        }
        if isFirst { queue.interrupt() }
    }

    func commit() async -> KafkaError? {
        guard configuration.hasGroup else { return .noGroup }
        let id = WaiterID.next()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                if !send(.commit(CommitWaiter(id: id, continuation: continuation))) {
                    continuation.resume(returning: .closed(persistence: nil))
                } else if Task.isCancelled {
                    send(.cancelCommit(id))
                }
            }
        } onCancel: {
            send(.cancelCommit(id))
        }
    }

    /// Tells `wait` when no plain commit is under way that was begun before this call.
    func awaitCommitUnderWay(_ wait: TimedWait<Bool>) {
        if !send(.awaitCommitUnderWay(wait)) { wait.resume(true) }
    }

    func beginClosing(within timeout: Duration) {
        let deadline = ContinuousClock.now.advanced(by: timeout.asTimeout)
        let resumptions = state.withLock { state -> [ReadyPartitions.Resumption]? in
            guard state.phase != .closed else { return nil }
            state.commands.append(.close(deadline: deadline))
            guard state.phase == .open else { return [] }
            state.phase = .closing
            return state.endLoops()
        }
        guard let resumptions else { return }
        resume(resumptions)
        queue.interrupt()
    }

    @discardableResult
    func close(within timeout: Duration) async -> KafkaConsumer.CloseSummary {
        beginClosing(within: timeout)
        // Closing is not cut short by cancellation: it ends by its deadline.
        await withCheckedContinuation { continuation in
            let isClosed = state.withLock { state in
                if state.phase != .closed { state.closeWaiters.append(continuation) }
                return state.phase == .closed
            }
            if isClosed { continuation.resume() }
        }
        return state.withLock { $0.summary }
    }

    /// False where the thread is gone.
    @discardableResult
    func send(_ command: Command) -> Bool {
        let isAlive = state.withLock { state in
            guard state.phase != .closed else { return false }
            state.commands.append(command)
            return true
        }
        if isAlive { queue.interrupt() }
        return isAlive
    }

    func resume(_ resumptions: [ReadyPartitions.Resumption]) {
        for resumption in resumptions { resumption.waiter.continuation.resume(returning: resumption.wake) }
    }

    func noteAcknowledged() {
        guard configuration.hasGroup else { return }
        let count = uncommitted.wrappingAdd(1, ordering: .relaxed).newValue
        // The first one starts the clock, the last one that may wait ends it.
        if count == 1 || count == configuration.maximumUncommitted { queue.interrupt() }
    }

    func interrupt() {
        queue.interrupt()
    }

    /// A message of a partition waits for the consumer's thread.
    func askThread(for reader: PartitionReader) {
        send(.ask)
    }

    /// Looks at a partition again at some time.
    func wake(_ reader: PartitionReader, at due: ContinuousClock.Instant) {
        send(.wake(reader, at: due))
    }

    /// A second verdict said something else than the first.
    func reportContradiction(_ partition: KafkaTopicPartition, offset: Int64, attempt: Int) {
        logger.warning(
            "A delivery was given two different verdicts, the first counts",
            metadata: [
                "kafka_partition": "\(partition)", "kafka_offset": "\(offset)", "kafka_attempt": "\(attempt)",
            ]
        )
        events.send(.contradictingVerdict(.init(partition: partition, offset: offset)))
    }

    /// A verdict came after its partition had gone.
    func noteLate(_ partition: KafkaTopicPartition) {
        late.wrappingAdd(1, ordering: .relaxed)
        logger.debug("Acknowledged too late, delivered again", metadata: ["kafka_partition": "\(partition)"])
    }

    func report(_ problem: KafkaError, of partition: KafkaTopicPartition? = nil) {
        // A broker that is away comes back by itself; what has to be put right by somebody is a warning.
        logger.log(
            level: problem.recovery == .retry ? .info : .warning,
            "Consumer trouble, it goes on",
            metadata: ["kafka_error": "\(problem)", "kafka_partition": "\(partition.map(\.description) ?? "")"]
        )
        events.send(.problem(problem, partition))
    }
}

// MARK: For the thread

extension ConsumerCore {
    func takeCommands() -> [Command] {
        state.withLock { state in
            defer { state.commands.removeAll(keepingCapacity: true) }
            return state.commands
        }
    }

    var lateCount: Int { late.load(ordering: .relaxed) }

    var uncommittedCount: Int { uncommitted.load(ordering: .relaxed) }

    func resetUncommittedCount() {
        uncommitted.store(0, ordering: .relaxed)
    }

    /// A partition begins again at another offset: some deliveries are not current any more.
    func noteRestart() {
        restarts.wrappingAdd(1, ordering: .relaxed)
    }

    /// What deliveries are stamped with.
    var stamp: HandlingWatch.Stamp { coarseNow.load(ordering: .relaxed) }

    func setStamp(_ stamp: HandlingWatch.Stamp) {
        coarseNow.store(stamp, ordering: .relaxed)
    }

    var restartCount: Int { restarts.load(ordering: .relaxed) }

    /// Offers newly assigned partitions to loops over `partitions`.
    func offer(_ readers: [PartitionReader]) {
        resume(
            state.withLock { state in
                state.unseen.append(contentsOf: readers.map { ($0, givenBackBy: 0) })
                return state.matchUnseen()
            }
        )
    }

    /// Ends the loops over a partition; what was handed out of it can still be settled.
    func endLoops(of reader: PartitionReader) {
        reader.stop()
        resume(
            state.withLock { state in
                state.unseen.removeAll { $0.reader === reader }
                return state.ready.end(reader)
            }
        )
    }

    /// Ends all loops with an error: the consumer cannot go on.
    func fail(_ error: KafkaError) {
        resume(
            state.withLock { state in
                if state.failure == nil { state.failure = error }
                return state.endLoops()
            }
        )
    }

    func finish(_ summary: KafkaConsumer.CloseSummary) {
        let (waiters, commands) = state.withLock { state in
            state.phase = .closed
            state.summary = summary
            defer {
                state.closeWaiters = []
                state.commands = []
            }
            return (state.closeWaiters, state.commands)
        }
        for command in commands {
            switch command {
            case .commit(let waiter): waiter.continuation.resume(returning: .closed(persistence: nil))
            case .awaitCommitUnderWay(let wait): wait.resume(true)
            default: break
            }
        }
        for waiter in waiters { waiter.resume() }
        events.finish()
    }
}

extension ConsumerCore.State {
    fileprivate mutating func endLoops() -> [ReadyPartitions.Resumption] {
        defer { assignmentWaiters = [] }
        return ready.close() + assignmentWaiters.map { ($0.waiter, .ended) }
    }

    /// Gives partitions to the loops that wait for one.
    fileprivate mutating func matchUnseen() -> [ReadyPartitions.Resumption] {
        var resumptions: [ReadyPartitions.Resumption] = []
        unseen.removeAll { entry in
            guard let index = assignmentWaiters.firstIndex(where: { $0.loop > entry.givenBackBy }) else { return false }
            resumptions.append((assignmentWaiters.remove(at: index).waiter, .partition(entry.reader)))
            return true
        }
        return resumptions
    }
}

extension KafkaError {
    static let noGroup = KafkaError(
        .invalidArgument,
        recovery: .fixRequest,
        reason: "the consumer has no group, and so nothing is committed"
    )
}
