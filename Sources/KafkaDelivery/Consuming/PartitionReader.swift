internal import Logging
internal import Synchronization

/// One generation of owning one partition: reads its queue when asked, hands out deliveries, keeps their verdicts.
///
/// Lock order: this reader's lock, then librdkafka's lock of the queue, then the lock around ``ReadyPartitions``.
/// librdkafka calls the queue's listener with the queue locked, which is why the listener takes only the last.
final class PartitionReader: ReadyPartition {
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

    /// What the duties of a reader know, each a value of its own.
    struct State {
        var gate = HandOutGate()
        var position = ReadPosition()
        var tracker = OffsetTracker()
        var transaction = PartitionTransaction()
        /// What was read, as far as it tells what a message is that does not come after it.
        var life: LogLife
        /// How often the partition began again, see ``OffsetTracker/restart()``.
        var run = 0
        /// Whether loops were told that there is no room, and are to be told when there is.
        var isWindowFull = false
        var rejected = RejectedMessages<ReceivedMessage>()
        /// Looks for messages that kill processes, where that is asked for; see ``PoisonDetector``.
        var detector: PoisonDetector?
        /// Read, and not to be handed out before the guard says so.
        var pending: FetchedMessage?
        var prefetched = PrefetchUse()

        /// The partition goes on at another offset: what was handed out before counts no longer.
        ///
        /// - Returns: What was kept to be handed out again, to be let go of outside of the lock: each owns a C object.
        mutating func beginAgain() -> [ReceivedMessage] {
            tracker.restart()
            detector?.restart()
            pending = nil
            life.beginAgain()
            run += 1
            isWindowFull = false
            gate.beginAgain()
            return rejected.removeAll()
        }
    }

    let partition: KafkaTopicPartition
    let generation: Int
    let core: ConsumerCore
    let queue: PartitionQueue
    let window: Int
    /// The offset that it was assigned with, which may be a logical one.
    let startingOffset: Int64
    private let prefetch: KafkaConsumer.Configuration.Prefetch
    /// How often the brokers did not have what was asked for.
    let resets: OffsetResets.Count
    /// Says a message's leader epoch, where this librdkafka can.
    private let leaderEpoch = LeaderEpoch()
    // Readers and verdicts come from any task.
    let state: Mutex<State>
    // Held while librdkafka is told to go on at another offset, which takes a moment, and while the generation ends: a seek
    // of this generation must not move the next one. Before the state's lock, and never on a task.
    let moving = Mutex(())

    let readiness = PartitionReadiness<PartitionReader>()

    init(
        _ partition: KafkaTopicPartition,
        generation: Int,
        core: ConsumerCore,
        queue: RdKafkaQueue,
        startingOffset: Int64,
        configuration: KafkaConsumer.Configuration
    ) {
        self.startingOffset = startingOffset
        self.partition = partition
        self.generation = generation
        self.core = core
        self.queue = PartitionQueue(queue)
        self.window = configuration.maximumUnsettledPerPartition
        self.prefetch = configuration.prefetch
        self.resets = queue.client.resets(of: partition)
        self.state = Mutex(State(life: LogLife(knownResets: resets.now)))
    }

    /// Listens for messages from now on. Before the partition is assigned, so that none is missed.
    func start() {
        queue.setListener { [self] in core.signal(self) }
    }

    // MARK: Reading

    /// Whether there may be something to read for another loop, beside the one that asks.
    var mayHaveMore: Bool {
        state.withLock { queue.count > 0 || !$0.rejected.isEmpty }
    }

    /// What was found while reading, to be told outside of the lock.
    private struct Findings {
        var problems: [KafkaError] = []
        /// To be let go of outside of the lock: each owns a C object.
        var outdated: [ReceivedMessage] = []
        var isAtEnd = false
        var isHungry = false
        var asksThread = false
        /// Where the partition has to be read again from, for which a seek was begun.
        var missing: Int64?

        var isEmpty: Bool {
            !isAtEnd && !isHungry && !asksThread && missing == nil && problems.isEmpty && outdated.isEmpty
        }
    }

    func take() -> Taken {
        var findings = Findings()
        let taken = state.withLock { take(&$0, &findings) }
        if !findings.isEmpty { tell(findings) }
        return taken
    }

    // Not inlined: most messages come without.
    @inline(never)
    private func tell(_ findings: Findings) {
        if findings.isHungry { core.client?.wakeBrokerThreads() }
        for problem in findings.problems { core.report(problem, of: partition) }
        if findings.isAtEnd { core.events.send(.caughtUp(partition, generation: generation)) }
        if findings.asksThread { core.askThread(for: self) }
        if let offset = findings.missing { _ = core.send(.start([self], .offset(offset), at: .now)) }
    }

    private func take(_ state: inout State, _ findings: inout Findings) -> Taken {
        guard state.gate.phase == .reading else { return .ended }
        guard !state.gate.isHeld else { return .empty }
        if let failure = state.gate.failure { return .failed(failure) }
        if !state.rejected.isEmpty, let taken = takeRejected(&state) { return taken }
        guard state.tracker.windowCount < window else {
            if !state.isWindowFull, state.tracker.heldCount == 0, state.rejected.isEmpty {
                findings.problems.append(standstill())
            }
            state.isWindowFull = true
            return .full
        }
        let taken = read(&state, &findings)
        findings.isHungry = mayFetchMore(&state, after: taken)
        return taken
    }

    /// What was negatively acknowledged comes first, when its time has come.
    private func takeRejected(_ state: inout State) -> Taken? {
        guard state.detector?.mayHandOutAgain ?? true else { return .empty }
        switch state.rejected.next(at: core.backoff.now) {
        case .message(let message):
            state.tracker.handOutAgain(message.sequence, at: core.stamp)
            return .delivery(KafkaConsumer.Delivery(ReceivedMessage(after: message)))
        case .wait: return .empty
        case .none: return state.detector?.isOneAtATime == true ? .empty : nil
        }
    }

    private func read(_ state: inout State, _ findings: inout Findings) -> Taken {
        if state.position.takeUntoldEnd() { noteEnd(&state, &findings) }
        if let pending = state.pending {
            guard mayHandOut(pending.offset, &state, &findings.asksThread) else { return .empty }
            state.pending = nil
            guard let message = pending.release() else { return .empty }
            return handOut(message, &state)
        }
        while let message = queue.consume() {
            let view = message.view
            guard view.isMessage else {
                if let failure = noteError(view, &state, &findings) { return .failed(failure) }
                continue
            }
            let offset = view.offset
            if resets.now != state.life.knownResets { noteResets(before: offset, &state) }
            if offset <= state.life.last, !beginsAgain(at: view, &state, &findings) {
                // It may be on its way elsewhere.
                guard !state.gate.isSeeking else { return .empty }
                continue
            }
            noteRead(view, &state)
            guard mayHandOut(offset, &state, &findings.asksThread) else {
                if let client = queue.client { state.pending = FetchedMessage(message, client: client) }
                return .empty
            }
            return handOut(message, &state)
        }
        return .empty
    }

    private func noteRead(_ message: RdKafkaMessage.View, _ state: inout State) {
        state.life.read(message.offset, epoch: leaderEpoch(message))
        state.position.read(message.offset)
        state.prefetched.read(bytes: message.size)
    }

    /// Whether a seek is safe, or in vain: librdkafka has fetched since it was told of the partition, or failed, or the partition ended.
    /// Between ``beginSeek()`` and ``finishSeek()``.
    ///
    /// Where librdkafka was told of no offset it asks for one first. A seek before the answer makes that outdated when it comes, and
    /// librdkafka asks once more (`rd_kafka_toppar_handle_Offset`): half a second later it goes to the beginning or the end, from
    /// wherever it is by then. All versions to 2.16 do.
    func mayBeSought() -> Bool {
        var findings = Findings()
        let isSafe = state.withLock { state in
            guard state.gate.phase == .reading, state.gate.failure == nil, !state.position.wasFetched,
                startingOffset < 0
            else { return true }
            // Its length says nothing: there are markers in it.
            while let message = queue.consume() {
                let view = message.view
                if view.isPartitionEnd {
                    // Where it is sought to, it may be at its end or not.
                    state.position.reachedEndBeforeSeek(at: view.offset)
                    return true
                }
                guard view.isMessage else {
                    if noteError(view, &state, &findings) != nil || state.position.wasFetched { return true }
                    continue
                }
                if resets.now != state.life.knownResets { noteResets(before: view.offset, &state) }
                noteRead(view, &state)
                // Handed out where the seek fails.
                if let client = queue.client { state.pending = FetchedMessage(message, client: client) }
                return true
            }
            return false
        }
        if !findings.isEmpty { tell(findings) }
        return isSafe
    }

    private func handOut(_ message: consuming RdKafkaMessage, _ state: inout State) -> Taken {
        let offset = message.view.offset
        let received = ReceivedMessage(
            message,
            client: queue.client,
            reader: self,
            sequence: state.tracker.handOut(offset, at: core.stamp),
            fatalCrashes: state.detector?.fatalCrashes(of: offset)
        )
        return .delivery(KafkaConsumer.Delivery(received))
    }

    /// Every delivery of a full window was let go of without a verdict, or comes after one that was: nothing can make
    /// room any more.
    private func standstill() -> KafkaError {
        KafkaError(
            .client,
            recovery: .fixRequest,
            reason: "\(partition) stands still: \(window) deliveries are unsettled or wait for one that is, and none "
                + "that could be settled is held. Give every delivery its verdict"
        )
    }

    /// What librdkafka says of the partition instead of a message.
    ///
    /// - Returns: Why nothing more of it is handed out, where that is so.
    @inline(never)
    private func noteError(
        _ message: RdKafkaMessage.View,
        _ state: inout State,
        _ findings: inout Findings
    ) -> KafkaError? {
        if message.isPartitionEnd {
            state.position.reachedEnd(at: message.offset)
            noteEnd(&state, &findings)
            return nil
        }
        let error = message.error(of: partition)
        // What was fetched and cannot be read has an offset; librdkafka's question for one has a logical one, or none.
        if message.offset >= 0, !error.isLocallyUnknown { state.position.fetched() }
        guard error.kind == .offsetOutOfRange else {
            // Of named partitions that do not exist the consumer's thread tells, once.
            if error.isLocallyUnknown, !core.configuration.joinsGroup { return nil }
            findings.problems.append(error)
            return nil
        }
        state.gate.fail(error, isFetchStopped: true)
        return error
    }

    @inline(never)
    private func noteEnd(_ state: inout State, _ findings: inout Findings) {
        findings.isAtEnd = true
        state.detector?.reachedEnd(isEmpty: state.tracker.windowCount == 0)
    }

    /// Looks at a message that does not come after the last one.
    ///
    /// - Returns: False where it is not handed out, because it was fetched again. If not, the partition's log was cut or made anew,
    ///   and librdkafka begins again where the consumer was told to: what comes now are other messages under offsets that were
    ///   seen before.
    @inline(never)
    private func beginsAgain(
        at message: RdKafkaMessage.View,
        _ state: inout State,
        _ findings: inout Findings
    ) -> Bool {
        let offset = message.offset
        let relation = state.life.relation(of: offset, epoch: leaderEpoch(message))
        guard relation == .anotherLog || relation == .doubtful else { return false }
        let last = state.life.last
        // Where it is a repetition after all, what has no verdict yet has to come again, too.
        let missing = relation == .doubtful ? state.tracker.firstUnsettled.map(\.offset) : nil
        findings.outdated += state.beginAgain()
        core.noteRestart()
        if let missing, missing < offset, state.gate.beginSeek() { findings.missing = missing }
        findings.problems.append(
            KafkaError(
                .offsetOutOfRange,
                recovery: .retry,
                reason: "\(partition) begins again at offset \(findings.missing ?? offset), after \(last): its log was "
                    + "cut or made anew"
            )
        )
        return findings.missing == nil
    }

    @inline(never)
    private func noteResets(before offset: Int64, _ state: inout State) {
        let start = state.position.next ?? startingOffset
        state.life.note(resets.news(since: state.life.knownResets), next: offset, start: start, isFetched: true)
    }

    private func mayFetchMore(_ state: inout State, after taken: Taken) -> Bool {
        let last = state.life.last
        return state.prefetched.takeRefill(of: prefetch, isAllRead: isAllRead(after: taken, last))
    }

    /// Whether nothing more is in the queue, and the partition goes on.
    private func isAllRead(after taken: Taken, _ last: Int64) -> Bool {
        guard case .empty = taken else { return false }
        return OffsetTracker.nextToRead(after: last) < queue.client?.cachedEnd(of: partition) ?? -1
    }
}
