internal import Synchronization

/// The calls that commit a transaction, one after the other on one thread: the consumed offsets, then the commit itself.
final class TransactionEnd: Sendable {
    enum Outcome: Sendable {
        case committed
        /// Not committed, and to be aborted.
        case toBeAborted(KafkaError, isCommitSent: Bool)
        /// Not committed, and the client does not answer.
        case notCommitted(KafkaError)
        /// The client cannot go on.
        case failed(KafkaError, isCommitSent: Bool)
        /// The commit was sent and not answered.
        case unknown(KafkaError)
    }

    private enum Phase: UInt8, AtomicRepresentable {
        case undecided
        case committing
        /// The task does not wait any longer, so it must not be committed unseen.
        case abandoned
    }

    private let client: RdKafkaClient
    private let claims: TransactionClaims
    private let marks: [TransactionMark]
    private let deadline: ContinuousClock.Instant
    private let leastTime: Duration
    // The thread that commits and the task that stops waiting for it: the first of them decides.
    private let phase = Atomic(Phase.undecided)

    /// - Parameter leastTime: How much there has to be left of the time for a commit to be sent: with less it would become unknown
    ///   what a moment before is certainly not committed.
    init(
        client: RdKafkaClient,
        claims: TransactionClaims,
        marks: [TransactionMark],
        deadline: ContinuousClock.Instant,
        leastTime: Duration = .zero
    ) {
        self.client = client
        self.claims = claims
        self.marks = marks
        self.deadline = deadline
        self.leastTime = leastTime
    }

    /// Blocks.
    func run() -> Outcome {
        for consumer in claims.consumers {
            if let outcome = sendOffsets(of: consumer) { return outcome }
        }
        for mark in marks {
            if let outcome = send(mark) { return outcome }
        }
        do {
            // KIP-447 fences an old generation when the offsets are sent, and from then on the next owner of a
            // partition waits for this transaction. It is asked once more all the same, so that what is known to have
            // ended is not committed.
            try claims.check()
        } catch {
            return .toBeAborted(error, isCommitSent: false)
        }
        return commit()
    }

    private func sendOffsets(of consumer: ConsumerCore) -> Outcome? {
        let offsets = claims.offsets(of: consumer)
        guard !offsets.isEmpty else { return nil }
        while true {
            // First the generation, then whether the partitions are still ours in it: a revocation ends them before the
            // member joins the next one, so an old partition never goes under a new generation.
            let joinsGroup = consumer.configuration.joinsGroup
            guard let client = consumer.client,
                let group = GroupMetadata.current(of: client, joinsGroup: joinsGroup),
                !client.isAssignmentLost
            else {
                return .toBeAborted(.notMember, isCommitSent: false)
            }
            do {
                try claims.check()
            } catch {
                return .toBeAborted(error, isCommitSent: false)
            }
            guard let failure = self.client.sendOffsets(offsets, of: group, within: deadline.remaining) else {
                return nil
            }
            if let outcome = outcome(failure) { return outcome }
        }
    }

    private func send(_ mark: TransactionMark) -> Outcome? {
        let offsets = [PartitionOffset(partition: mark.partition, offset: mark.offset)]
        guard let group = GroupMetadata.withoutMembers(mark.group) else {
            return .toBeAborted(.noMemory, isCommitSent: false)
        }
        while true {
            guard let failure = client.sendOffsets(offsets, of: group, within: deadline.remaining) else { return nil }
            if let outcome = outcome(failure) { return outcome }
        }
    }

    /// What a failure to send offsets comes to; nil, after a pause, where the call is to be made again.
    private func outcome(_ failure: RdKafkaClient.TransactionFailure) -> Outcome? {
        switch failure.remedy {
        case .recreate: return .failed(failure.error, isCommitSent: false)
        case .repeatCall where deadline.remaining > .zero:
            RdKafkaClient.pause()
            return nil
        case .repeatCall, .abort, .none: return .toBeAborted(failure.error, isCommitSent: false)
        }
    }

    private func commit() -> Outcome {
        // What has failed for good before the commit was sent is not committed.
        if let fatal = client.fatalError { return .failed(fatal, isCommitSent: false) }
        // This thread or the calls before took the time.
        guard deadline.remaining >= leastTime else { return .toBeAborted(.noTimeLeft, isCommitSent: false) }
        let (isFirst, _) = phase.compareExchange(
            expected: .undecided,
            desired: .committing,
            ordering: .sequentiallyConsistent
        )
        guard isFirst else { return .notCommitted(.closed()) }
        while true {
            guard let failure = client.commitTransaction(within: deadline.remaining) else { return .committed }
            switch failure.remedy {
            case .abort: return .toBeAborted(failure.error, isCommitSent: true)
            case .recreate: return .failed(failure.error, isCommitSent: true)
            case .repeatCall where Self.isRepeated(failure, remaining: deadline.remaining): RdKafkaClient.pause()
            case .repeatCall, .none: return .unknown(failure.error)
            }
        }
    }

    /// Whether a commit that may be repeated is called again.
    ///
    /// Not where the time was over, and not with little time: the call begins with a question to librdkafka's own thread,
    /// and where that has not answered in time librdkafka forgets that it is committing. It then takes the coordinator's
    /// late answer for one to an abort, which it holds for a bug of its own, and ends the process
    /// (`rd_kafka_txn_endtxn_complete`).
    static func isRepeated(_ failure: RdKafkaClient.TransactionFailure, remaining: Duration) -> Bool {
        failure.error.kind != .timedOut && remaining >= .seconds(1)
    }

    /// Stops waiting for it.
    ///
    /// - Returns: What is known by then.
    func abandon() -> Outcome {
        let (isFirst, _) = phase.compareExchange(
            expected: .undecided,
            desired: .abandoned,
            ordering: .sequentiallyConsistent
        )
        let error = KafkaError(.timedOut, recovery: .retry, reason: "the coordinator did not answer in time")
        return isFirst ? .notCommitted(error) : .unknown(error)
    }
}

extension KafkaError {
    fileprivate static let noTimeLeft = KafkaError(
        .timedOut,
        persistence: .notPersisted,
        recovery: .retry,
        reason: "there was too little of operationTimeout left for the commit"
    )

    fileprivate static let notMember = KafkaError(
        .assignmentEnded,
        persistence: .notPersisted,
        recovery: .retry,
        reason: "the consumer is no member of its group at this moment"
    )
}
