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
        /// The committed offsets of newly assigned partitions.
        case committed([PartitionReader], Result<[PartitionOffset], KafkaError>)
        /// A message waits for a commit, or for its turn.
        case ask
        /// Wait for the end of the commit under way.
        case awaitCommitUnderWay(TimedWait<Bool>)
        /// A rejected delivery is due then.
        case wake(PartitionReader, at: ContinuousClock.Instant)
        /// The committed offsets of partitions that the application is to be asked about.
        case committedBeforeStart([PartitionReader], [PartitionOffset])
        /// Where the application says that a partition begins, or why it cannot say.
        case startingOffset(PartitionReader, Result<Int64?, any Error>)
        /// A partition was brought to where the consumer was told to start.
        case started(PartitionReader)
        /// Which of the named partitions do not exist; nil where no broker said so.
        case found(missing: Set<KafkaTopicPartition>?)
        /// Partitions that librdkafka has given up are to be read again.
        case restart(PartitionRestart)
        /// Partitions, for which a seek was begun, are to be brought somewhere, or brought there again.
        case start([PartitionReader], KafkaConsumer.Configuration.Start, at: ContinuousClock.Instant)
    }

    struct CommitWaiter: Sendable {
        let id: UInt64
        let continuation: CheckedContinuation<KafkaError?, Never>
    }

    struct State {
        var ready = ReadyPartitions<PartitionReader>()
        /// Assigned and not yet seen by a loop over `partitions`.
        var unseen: [(reader: PartitionReader, givenBackBy: UInt64)] = []
        /// Loops that wait for one, by number: a loop that was started later has a greater one.
        var assignmentWaiters: [(waiter: ReadyPartitions<PartitionReader>.Waiter, loop: UInt64)] = []
        var commands: [Command] = []
        /// What is ours in this generation.
        var assigned: [KafkaTopicPartition: PartitionReader] = [:]
        var isSubscribed = false
        var phase = Phase.open
        var failure: KafkaError?
        var closeWaiters: [CheckedContinuation<Void, Never>] = []
        var summary = KafkaCloseSummary()
    }

    enum Phase {
        case open
        /// Nothing more is handed out.
        case closing
        /// The thread is gone.
        case closed
    }

    private let openClient: OpenClient
    /// The consumer's queue; nil once it is closed. Tasks that interrupt the thread meet its end here; librdkafka is not called
    /// under it.
    private let openQueue: Mutex<RdKafkaQueue?>
    let configuration: KafkaConsumer.Configuration
    let logger: Logger
    let events = EventHub()
    /// What back-off is measured with.
    let backoff: any BackoffClock
    /// Whether what is acknowledged is committed. A redrive commits by itself, with metadata.
    let commits: Bool
    /// What to read without joining the group; nil joins it. Set before the first loop begins.
    let assignment = Mutex<[PartitionOffset]?>(nil)
    /// Whether loops wait for any partition: one that reads looks at it after each delivery, without a lock.
    let loopsWait = Atomic(false)
    // Loops, librdkafka's threads (through signal) and the consumer's thread meet here. Last in the lock order:
    // nothing else is locked, and librdkafka is not called, while it is held.
    let state = Mutex(State())
    /// Where calls that wait for the brokers are made.
    let blocking = BlockingQueue("kafka-control")
    /// How often any partition began again at another offset.
    let restarts = Atomic(0)
    /// Where the coarse clock stands, see ``StuckHandlerClock``.
    let coarseNow = Atomic<StuckHandlerClock.Stamp>(0)
    /// Acknowledgements since the last commit began.
    let uncommitted = Atomic(0)
    /// Verdicts that came after their partition had gone.
    let late = Atomic(0)

    /// - Parameter thread: What the consumer's thread runs until the consumer is closed.
    init(
        _ configuration: KafkaConsumer.Configuration,
        logger: Logger,
        backoff: any BackoffClock,
        commits: Bool = true,
        thread: @escaping @Sendable (ConsumerCore, RdKafkaClient, RdKafkaQueue) -> Void
    ) throws(KafkaError) {
        self.commits = commits
        let client = try configuration.rdKafka().makeConsumer()
        guard let queue = RdKafkaQueue.consumer(of: client) else {
            throw KafkaError(.client, recovery: .retry, reason: "librdkafka gave no queue for the consumer")
        }
        self.openClient = OpenClient(client)
        self.openQueue = Mutex(queue)
        self.configuration = configuration
        self.logger = logger
        self.backoff = backoff
        client.groupLog?.wake(queue.raw)
        guard BlockingThread.start("kafka-consumer", { self.serve(thread) }) else {
            letGoOfClient()
            throw KafkaError(.client, recovery: .retry, reason: "the system has no thread left for the consumer")
        }
    }

    /// The client; nil when the consumer is closed.
    var client: RdKafkaClient? { openClient.client }

    /// The end of the client, also of one that is closed.
    var clientEnd: ClientEnd { openClient.end }

    /// The client, to be held for a call.
    func usableClient() throws(KafkaError) -> RdKafkaClient {
        guard let client else { throw .closed(persistence: nil) }
        return client
    }

    /// Runs on the consumer's thread until it is closed.
    private func serve(_ thread: (ConsumerCore, RdKafkaClient, RdKafkaQueue) -> Void) {
        run(thread)
        letGoOfClient()
    }

    /// A function of its own: what the loop holds is gone when it returns.
    @inline(never)
    private func run(_ thread: (ConsumerCore, RdKafkaClient, RdKafkaQueue) -> Void) {
        guard let client, let queue = openQueue.withLock({ $0 }) else { return }
        thread(self, client, queue)
    }

    /// Lets the client be destroyed, as soon as no delivery holds it any longer.
    private func letGoOfClient() {
        client?.groupLog?.wake(nil)
        let queue = openQueue.withLock { $0.take() }
        _ = consume queue
        openClient.letGo()
    }
}

// MARK: For the application

extension ConsumerCore {
    /// Joins the group, once.
    func subscribe() {
        let isFirst = state.withLock { state in
            guard !state.isSubscribed, state.phase == .open else { return false }
            state.isSubscribed = true
            state.commands.append(.subscribe)
            return true
        }
        if isFirst { interrupt() }
    }

    func commit() async -> KafkaError? {
        guard configuration.hasGroup else { return .noGroup }
        return await waitCancellably { id, continuation in
            if !send(.commit(CommitWaiter(id: id, continuation: continuation))) {
                continuation.resume(returning: .closed(persistence: nil))
            }
        } onCancel: { id in
            send(.cancelCommit(id))
        }
    }

    /// Tells `wait` when no plain commit is under way that was begun before this call.
    func awaitCommitUnderWay(_ wait: TimedWait<Bool>) {
        if !send(.awaitCommitUnderWay(wait)) { wait.resume(true) }
    }

    func beginClosing(within timeout: Duration) {
        let deadline = ContinuousClock.now.advanced(by: timeout.asTimeout)
        let resumptions = state.withLock { state -> [ReadyPartitions<PartitionReader>.Resumption]? in
            guard state.phase != .closed else { return nil }
            state.commands.append(.close(deadline: deadline))
            guard state.phase == .open else { return [] }
            state.phase = .closing
            return state.endLoops()
        }
        guard let resumptions else { return }
        resume(resumptions)
        interrupt()
    }

    @discardableResult
    func close(within timeout: Duration) async -> KafkaCloseSummary {
        let deadline = ContinuousClock.now.advanced(by: timeout.asTimeout)
        beginClosing(within: timeout)
        // Closing is not cut short by cancellation: it ends by its deadline.
        await withCheckedContinuation { continuation in
            let isClosed = state.withLock { state in
                if state.phase != .closed { state.closeWaiters.append(continuation) }
                return state.phase == .closed
            }
            if isClosed { continuation.resume() }
        }
        await clientEnd.waitAfterClosing(until: deadline)
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
        if isAlive { interrupt() }
        return isAlive
    }

    func resume(_ resumptions: [ReadyPartitions<PartitionReader>.Resumption]) {
        for resumption in resumptions { resumption.waiter.continuation.resume(returning: resumption.wake) }
    }

    func noteAcknowledged() {
        guard configuration.hasGroup else { return }
        let count = uncommitted.wrappingAdd(1, ordering: .relaxed).newValue
        // The first one starts the clock, the last one that may wait ends it.
        if count == 1 || count == configuration.maximumUncommitted { interrupt() }
    }

    func interrupt() {
        openQueue.withLock { $0 }?.interrupt()
    }

    /// A message of a partition waits for the consumer's thread. Not inlined: making a command is no small thing, and who calls
    /// this is on the way of every message.
    @inline(never)
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
        // A broker that is away comes back by itself; what a person has to put right is a warning.
        logger.log(
            level: problem.recovery == .retry ? .info : .warning,
            "Consumer trouble, it goes on",
            metadata: ["kafka_error": "\(problem)", "kafka_partition": "\(partition.map(\.description) ?? "")"]
        )
        events.send(.problem(problem, partition))
    }
}

// MARK: What is assigned

extension ConsumerCore {
    func noteAssigned(_ readers: [PartitionReader]) {
        state.withLock { state in
            for reader in readers { state.assigned[reader.partition] = reader }
        }
    }

    func noteEnded(_ reader: PartitionReader) {
        state.withLock { state in
            if state.assigned[reader.partition] === reader { state.assigned[reader.partition] = nil }
        }
    }

    var assigned: [KafkaTopicPartition: PartitionReader] { state.withLock { $0.assigned } }

    /// The readers of partitions, all of which have to be ours.
    func readers(of partitions: [KafkaTopicPartition]) throws(KafkaError) -> [PartitionReader] {
        let (assigned, isClosed) = state.withLock { ($0.assigned, $0.phase != .open) }
        if isClosed { throw .closed(persistence: nil) }
        var readers: [PartitionReader] = []
        for partition in partitions {
            guard let reader = assigned[partition] else { throw .notAssigned(partition) }
            readers.append(reader)
        }
        return readers
    }
}

extension KafkaError {
    static let noGroup = KafkaError(
        .invalidArgument,
        recovery: .fixRequest,
        reason: "the consumer has no group, and so nothing is committed"
    )
}
