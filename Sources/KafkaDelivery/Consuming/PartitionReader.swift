internal import CRdKafka
internal import Logging
internal import Synchronization

/// One generation of owning one partition: reads its queue when asked, hands out deliveries, keeps their verdicts.
///
/// Lock order: this reader's lock, then librdkafka's lock of the queue, then the lock around ``ReadyPartitions``.
/// librdkafka calls the queue's listener with the queue locked, which is why the listener takes only the last.
final class PartitionReader: Sendable {
    /// What reading came to.
    enum Taken {
        case delivery(KafkaConsumer.Delivery)
        /// Nothing there; the consumer is told when there is.
        case empty
        /// Too many deliveries are unsettled; the consumer is told when there is room.
        case full
        /// The partition is not ours any more, or the consumer is closing.
        case ended
        case failed(KafkaError)
    }

    private enum Phase {
        case reading
        /// Nothing more is handed out; verdicts still count.
        case stopped
        /// Not ours any more: verdicts change nothing.
        case ended
    }

    private struct Rejected {
        let message: ReceivedMessage
        let due: ContinuousClock.Instant
        /// Whether nothing else of the partition is handed out before it.
        let holdsPartition: Bool
    }

    private struct State {
        var phase = Phase.reading
        var tracker = OffsetTracker()
        /// The first and the last offset that were read.
        var firstOffset: Int64 = -1
        var lastOffset: Int64 = -1
        /// Until when librdkafka may fetch again what was read already.
        var mayRepeatUntil: ContinuousClock.Instant?
        /// How often the partition began again, see ``OffsetTracker/restart()``.
        var run = 0
        var isWindowFull = false
        /// Whether nothing was read since librdkafka said that the partition is at its end.
        var isAtEnd = false
        var failure: KafkaError?
        /// Negatively acknowledged and to be handed out again, in the order of the partition.
        var rejected: [Rejected] = []
        /// Read since the broker threads were woken last.
        var readMessages = 0
        var readBytes = 0
    }

    let partition: KafkaTopicPartition
    let generation: Int
    private let core: ConsumerCore
    private let queue: RdKafkaQueue
    private let window: Int
    private let prefetch: KafkaConsumer.Configuration.Prefetch
    // Readers and verdicts come from any task.
    private let state = Mutex(State())

    // Guarded by the lock around the consumer's ReadyPartitions.
    nonisolated(unsafe) var place = ReadyPartitions.Place.idle
    nonisolated(unsafe) var waiters: [ReadyPartitions.Waiter] = []
    nonisolated(unsafe) var isClaimed = false
    nonisolated(unsafe) var hasEnded = false

    init(
        _ partition: KafkaTopicPartition,
        generation: Int,
        core: ConsumerCore,
        queue: RdKafkaQueue,
        configuration: KafkaConsumer.Configuration
    ) {
        self.partition = partition
        self.generation = generation
        self.core = core
        self.queue = queue
        self.window = configuration.maximumUnsettledPerPartition
        self.prefetch = configuration.prefetch
    }

    /// Listens for messages from now on. Before the partition is assigned, so that none is missed.
    func start() {
        queue.setListener { [self] in core.signal(self) }
    }

    // MARK: Reading

    func take() -> Taken {
        var problems: [KafkaError] = []
        var isAtEnd = false
        var isHungry = false
        let taken = state.withLock { state in
            guard state.phase == .reading else { return Taken.ended }
            if let failure = state.failure { return .failed(failure) }
            if let taken = takeRejected(&state) { return taken }
            guard state.tracker.windowCount < window else {
                if !state.isWindowFull, state.tracker.heldCount == 0, state.rejected.isEmpty {
                    problems.append(standstill())
                }
                state.isWindowFull = true
                return .full
            }
            let taken = read(&state, &problems, &isAtEnd)
            isHungry = mayFetchMore(&state, after: taken)
            return taken
        }
        if isHungry { queue.client.wakeBrokerThreads() }
        for problem in problems { core.report(problem, of: partition) }
        if isAtEnd { core.events.send(.caughtUp(partition, generation: generation)) }
        return taken
    }

    /// What was negatively acknowledged comes first, when its time has come.
    private func takeRejected(_ state: inout State) -> Taken? {
        guard !state.rejected.isEmpty else { return nil }
        let now = core.backoff.now
        if let index = state.rejected.firstIndex(where: { $0.due <= now }) {
            let message = state.rejected.remove(at: index).message
            state.tracker.handOutAgain(message.sequence)
            return .delivery(KafkaConsumer.Delivery(ReceivedMessage(after: message)))
        }
        return state.rejected.contains(where: \.holdsPartition) ? .empty : nil
    }

    private func read(_ state: inout State, _ problems: inout [KafkaError], _ isAtEnd: inout Bool) -> Taken {
        while let message = queue.consume() {
            let code = message.pointee.err
            if code == RD_KAFKA_RESP_ERR__PARTITION_EOF {
                rd_kafka_message_destroy(message)
                isAtEnd = true
                state.isAtEnd = true
                continue
            }
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
                let text = rd_kafka_message_errstr(message).map { String(cString: $0) } ?? code.text
                let error = KafkaError(code, reason: "\(partition): \(text)")
                rd_kafka_message_destroy(message)
                if error.kind == .offsetOutOfRange {
                    state.failure = error
                    return .failed(error)
                }
                problems.append(error)
                continue
            }
            let offset = message.pointee.offset
            if offset <= state.lastOffset {
                if isRepeated(offset, state) {
                    rd_kafka_message_destroy(message)
                    continue
                }
                problems.append(restart(&state, at: offset))
            }
            if state.firstOffset < 0 { state.firstOffset = offset }
            state.isAtEnd = false
            state.lastOffset = offset
            state.readMessages += 1
            state.readBytes += message.pointee.len + message.pointee.key_len
            let sequence = state.tracker.handOut(offset)
            return .delivery(
                KafkaConsumer.Delivery(
                    ReceivedMessage(message, client: queue.client, reader: self, sequence: sequence)
                )
            )
        }
        return .empty
    }

    /// Every delivery of a full window was let go of without a verdict, or comes after one that was: nothing can make
    /// room any more.
    private func standstill() -> KafkaError {
        KafkaError(
            .client,
            recovery: .fixRequest,
            reason: "\(partition) stands still: \(window) deliveries are unsettled or wait for one that is, and nobody "
                + "holds one that could be settled. Give every delivery its verdict"
        )
    }

    /// Whether a message that does not come after the last one was fetched again, and not sent anew.
    ///
    /// A rebalance pauses what stays assigned and fetches it from where the application was, which may be one message
    /// before where it is; and where librdkafka 2.0.2 resumes a partition that was not paused, from where it began.
    private func isRepeated(_ offset: Int64, _ state: State) -> Bool {
        if offset == state.lastOffset { return true }
        guard let until = state.mayRepeatUntil, ContinuousClock.now < until else { return false }
        return offset >= state.firstOffset
    }

    /// The partition's log was cut or made anew, and librdkafka begins again where the consumer was told to: what comes
    /// now are other messages under offsets that were seen before.
    private func restart(_ state: inout State, at offset: Int64) -> KafkaError {
        state.tracker.restart()
        state.rejected = []
        state.firstOffset = offset
        state.run += 1
        state.isWindowFull = false
        return KafkaError(
            .offsetOutOfRange,
            recovery: .retry,
            reason:
                "\(partition) begins again at offset \(offset), after \(state.lastOffset): its log was cut or made anew"
        )
    }

    /// Whether the fetcher, which stops at a full queue and looks again only when something wakes it, should be woken:
    /// when half of what it may prefetch was read since the last time, and when all was read and there is more.
    private func mayFetchMore(_ state: inout State, after taken: Taken) -> Bool {
        guard state.readMessages > 0 else { return false }
        let isHalfRead =
            state.readMessages * 2 >= prefetch.maximumMessages || state.readBytes * 2 >= prefetch.maximumBytes
        let isAllRead =
            if case .empty = taken {
                OffsetTracker.nextToRead(after: state.lastOffset) < queue.client.cachedEnd(of: partition)
            } else {
                false
            }
        guard isHalfRead || isAllRead else { return false }
        state.readMessages = 0
        state.readBytes = 0
        return true
    }

    // MARK: Verdicts

    func acknowledge(_ sequence: OffsetTracker.Sequence) -> KafkaConsumer.Verdict {
        var hasRoom = false
        var isDrained = false
        let verdict = state.withLock { state in
            guard state.phase != .ended else { return KafkaConsumer.Verdict.ended }
            guard state.tracker.settle(sequence) == .settled else { return .repeated }
            if state.isWindowFull, state.tracker.windowCount < window {
                state.isWindowFull = false
                hasRoom = true
            }
            isDrained = state.phase == .stopped && state.tracker.heldCount == 0
            return .settled
        }
        switch verdict {
        case .settled: core.noteAcknowledged()
        case .ended: core.noteLate(partition)
        case .repeated: break
        }
        if hasRoom { core.signal(self) }
        if isDrained { core.interrupt() }
        return verdict
    }

    /// Hands the message out again when the delay is over, before anything later of the partition where it holds that.
    func reject(_ message: ReceivedMessage, after delay: Duration, holdsPartition: Bool) -> KafkaConsumer.Verdict {
        let due = core.backoff.now.advanced(by: min(max(delay, .zero), .seconds(1 << 40)))
        var isDrained = false
        let verdict = state.withLock { state in
            guard state.phase != .ended else { return KafkaConsumer.Verdict.ended }
            guard state.tracker.reject(message.sequence) == .settled else { return .repeated }
            isDrained = state.phase == .stopped && state.tracker.heldCount == 0
            if state.phase == .reading {
                let index = state.rejected.firstIndex { $0.message.sequence > message.sequence }
                state.rejected.insert(
                    Rejected(message: message, due: due, holdsPartition: holdsPartition),
                    at: index ?? state.rejected.endIndex
                )
            }
            return .settled
        }
        switch verdict {
        case .settled where delay > .zero: core.wake(self, at: due)
        case .settled: core.signal(self)
        case .ended: core.noteLate(partition)
        case .repeated: break
        }
        if isDrained { core.interrupt() }
        return verdict
    }

    func noteRejection(_ delivery: KafkaConsumer.Delivery, _ error: (any Error)?, _ delay: Duration) {
        core.logger.debug(
            "Delivery failed, to be handed over again",
            metadata: [
                "kafka_delivery": "\(delivery)", "kafka_attempt": "\(delivery.attempt)", "kafka_delay": "\(delay)",
                "kafka_error": "\(error.map { String(describing: $0) } ?? "")",
            ]
        )
    }

    func reportContradiction(offset: Int64, attempt: Int) {
        core.reportContradiction(partition, offset: offset, attempt: attempt)
    }

    var isReading: Bool { state.withLock { $0.phase == .reading } }

    /// Whether the partition is still ours, so that something can be committed.
    var isOurs: Bool { state.withLock { $0.phase != .ended } }

    /// Whether everything that the partition held was handed out.
    var isAtEnd: Bool { state.withLock { $0.isAtEnd } }

    /// The last reference to a delivery went without a verdict.
    func abandon(_ sequence: OffsetTracker.Sequence) {
        let isDrained = state.withLock { state in
            state.tracker.abandon(sequence)
            return state.phase == .stopped && state.tracker.heldCount == 0
        }
        if isDrained { core.interrupt() }
    }

    // MARK: For the consumer's thread

    /// Hands out nothing more; verdicts still count.
    func stop() {
        // Let go of outside of the lock: each is the owner of a C object.
        let rejected = state.withLock { state in
            if state.phase == .reading { state.phase = .stopped }
            defer { state.rejected = [] }
            return state.rejected
        }
        _ = consume rejected
    }

    /// Verdicts change nothing from now on.
    ///
    /// - Returns: How many deliveries were not settled, and how many were acknowledged in vain.
    func end() -> (unsettled: Int, isUncommitted: Bool) {
        queue.removeListener()
        return state.withLock { state in
            state.phase = .ended
            return (state.tracker.unsettledCount, state.tracker.commitTarget != nil)
        }
    }

    var heldCount: Int { state.withLock { $0.tracker.heldCount } }

    var commitTarget: Committer.Target? {
        guard core.commits else { return nil }
        return state.withLock { state in
            state.tracker.commitTarget.map { Committer.Target(reader: self, offset: $0, run: state.run) }
        }
    }

    /// Whether an offset is committed, or does not have to be any more.
    func isCommitted(_ target: Committer.Target) -> Bool {
        state.withLock { state in
            state.run != target.run || (state.tracker.committed ?? -1) >= target.offset
        }
    }

    func didCommit(_ target: Committer.Target) {
        state.withLock { if $0.run == target.run { $0.tracker.didCommit(target.offset) } }
    }

    /// A rebalance: some messages may be fetched again.
    func mayRepeat(until instant: ContinuousClock.Instant) {
        state.withLock { $0.mayRepeatUntil = instant }
    }
}

extension KafkaConsumer {
    enum Verdict {
        case settled
        case repeated
        /// The partition is not ours any more.
        case ended
    }
}
