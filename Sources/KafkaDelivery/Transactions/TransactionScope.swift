internal import Synchronization

/// One transaction from its beginning to its end: what is being sent in it, what went wrong, which deliveries are part of
/// it, and whether it may still be used.
final class TransactionScope: SendObserver {
    private enum Phase {
        case open
        /// It is being committed or aborted.
        case ending
    }

    private struct State {
        var phase = Phase.open
        /// Why it ended before its owner ended it.
        var endReason: KafkaError?
        /// Sends that are being handed to librdkafka, or wait for room.
        var activeSends = 0
        var drained: CheckedContinuation<Void, Never>?
        var sendFailure: KafkaError?
        /// Whether a message may be stored that was not confirmed.
        var mayHaveStored = false
        var claims = TransactionClaims()
        /// Offsets of groups without members.
        var marks: [TransactionMark] = []
        /// Messages that were accepted.
        var acceptedCount = 0
        var conclusion: Conclusion?
    }

    /// What became of the transaction as a whole.
    enum Conclusion {
        case committed
        case aborted
        /// No answer said whether it was committed.
        case unknown
    }

    let id = WaiterID.next()
    let core: ProducerCore
    private let begun = Moment.now
    // Senders on any task, the producer's thread, and the task that ends the transaction meet here.
    private let state = Mutex(State())
    // Senders count up, and the producer's thread down, for each message.
    private let unreported = Atomic(0)

    init(_ core: ProducerCore) {
        self.core = core
    }

    /// How long it has been going on.
    var age: Duration { begun.duration(to: .now) }

    // MARK: Inside

    func enqueue(_ message: KafkaMessage) async throws(KafkaError) -> KafkaProducer.PendingDelivery {
        let refusal: KafkaError? = state.withLock { state in
            if state.phase != .open { return state.endReason ?? .transactionEnded }
            state.activeSends += 1
            return nil
        }
        if let refusal { throw refusal }
        defer { leave() }
        do {
            let pending = try await core.enqueue(message)
            state.withLock { $0.acceptedCount += 1 }
            unreported.wrappingAdd(1, ordering: .relaxed)
            pending.tell(self)
            return pending
        } catch {
            throw explain(error)
        }
    }

    private func leave() {
        let drained = state.withLock { state in
            state.activeSends -= 1
            return state.activeSends == 0 ? state.drained.take() : nil
        }
        drained?.resume()
    }

    /// What became of a message of the transaction; called by the producer's thread.
    ///
    /// - Parameter failure: Why it was not confirmed, where it was not.
    func noteOutcome(_ failure: KafkaError?) {
        // Last, so that who sees that all are reported sees what was.
        defer { unreported.wrappingSubtract(1, ordering: .releasing) }
        guard let error = failure else { return }
        state.withLock { state in
            if state.sendFailure == nil { state.sendFailure = error }
            if error.persistence != .notPersisted { state.mayHaveStored = true }
        }
    }

    /// An error of a send, for the code inside of the transaction. When a transaction has failed librdkafka lets go of its
    /// messages and takes no more, and says no more about it.
    func explain(_ error: KafkaError) -> KafkaError {
        if error.kind == .batchRefused { return error.refusedInTransaction(recovery: .abortTransaction) }
        guard error.isOfFailedTransaction else { return error }
        return KafkaError(
            .client,
            persistence: .notPersisted,
            recovery: .abortTransaction,
            reason: "the transaction has failed: \(core.fatalError?.reason ?? error.reason)",
            code: error.code
        )
    }

    func acknowledge(
        _ deliveries: some Sequence<KafkaConsumer.Delivery>,
        from consumer: KafkaConsumer
    ) throws(KafkaError) {
        guard consumer.core.configuration.isolation == .readCommitted else {
            throw .invalidArgument(
                "a consumer's offsets can be part of a transaction only with isolation = .readCommitted: otherwise its "
                    + "group would not wait for the end of a transaction whose offsets it asks for"
            )
        }
        guard consumer.core.configuration.hasGroup else {
            throw .invalidArgument("the consumer has no group whose offsets could be part of a transaction")
        }
        // Read before the lock is taken: a lazy sequence is the caller's code.
        let deliveries = Array(deliveries)
        let result: Result<Void, KafkaError> = state.withLock { state in
            guard state.phase == .open else { return .failure(state.endReason ?? .transactionEnded) }
            return Result { () throws(KafkaError) in
                for delivery in deliveries { try state.claims.add(delivery, from: consumer, transaction: id) }
            }
        }
        try result.get()
    }

    func add(_ mark: TransactionMark) throws(KafkaError) {
        let refusal: KafkaError? = state.withLock { state in
            guard state.phase == .open else { return state.endReason ?? .transactionEnded }
            state.marks.append(mark)
            return nil
        }
        if let refusal { throw refusal }
    }

    // MARK: The end

    /// Begins the end; false where it had begun already.
    ///
    /// - Parameter reason: Why, where it is not the scope's own end.
    func beginEnding(_ reason: KafkaError? = nil) -> Bool {
        state.withLock { state in
            guard state.phase == .open else { return false }
            state.phase = .ending
            state.endReason = reason
            return true
        }
    }

    var isOpen: Bool { state.withLock { $0.phase == .open } }

    /// Why it ended before its owner ended it.
    var endReason: KafkaError { state.withLock { $0.endReason } ?? .transactionEnded }

    /// Waits until no send is between being accepted here and being accepted by librdkafka, where it would end up in the
    /// next transaction. Those that wait for room are refused, and those that would begin to, so it does not take long.
    func drain() async {
        core.refuseSpaceWaiters(.transactionEnded)
        defer { core.admitSpaceWaiters() }
        await withCheckedContinuation { continuation in
            let isDrained = state.withLock { state in
                if state.activeSends > 0 { state.drained = continuation }
                return state.activeSends == 0
            }
            if isDrained { continuation.resume() }
        }
    }

    /// The first message that failed.
    var sendFailure: KafkaError? { state.withLock { $0.sendFailure } }

    /// Whether the client's sequence numbers go on where the brokers expect them, now that the transaction was aborted.
    var leavesSequencesWhole: Bool {
        guard unreported.load(ordering: .acquiring) == 0 else { return false }
        return state.withLock { state in
            !state.mayHaveStored && (state.sendFailure?.isOfFailedTransaction ?? true)
        }
    }

    /// Notes what became of it; the first conclusion counts.
    func conclude(_ conclusion: Conclusion) {
        state.withLock { $0.conclusion = $0.conclusion ?? conclusion }
    }

    /// What became of its messages. Without a conclusion that is unknown.
    var summary: KafkaCloseSummary {
        let (count, conclusion) = state.withLock { ($0.acceptedCount, $0.conclusion) }
        return switch conclusion {
        case .committed: KafkaCloseSummary(delivered: count)
        case .aborted: KafkaCloseSummary(failed: count)
        case .unknown, nil: KafkaCloseSummary(unknown: count)
        }
    }

    /// The deliveries that are part of it.
    var claims: TransactionClaims { state.withLock { $0.claims } }

    /// The offsets of groups without members that are part of it.
    var marks: [TransactionMark] { state.withLock { $0.marks } }
}

extension KafkaError {
    static let transactionEnded = KafkaError(
        .invalidArgument,
        persistence: .notPersisted,
        recovery: .fixRequest,
        reason: "the transaction has ended; it can be used inside of its withTransaction only"
    )
}
