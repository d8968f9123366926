internal import Synchronization

/// Deliveries that are part of a transaction of some producer.
///
/// While there are any, nothing of the partition is committed the plain way, a revocation waits for them as it does for
/// deliveries that the application holds, and no other transaction can have deliveries of the same partition.
extension PartitionReader {
    /// What putting a delivery into a transaction came to.
    enum Claim {
        case taken
        /// It has its verdict, or is part of this transaction already.
        case repeated
        /// Another transaction has deliveries of this partition.
        case otherTransaction
        /// The partition is not ours any more.
        case ended
    }

    func claim(_ message: ReceivedMessage, for transaction: UInt64) -> Claim {
        state.withLock { state in
            guard state.gate.phase != .ended else { return .ended }
            guard state.transaction.admits(transaction) else { return .otherTransaction }
            // Of a partition that was sought since, the transaction will be aborted: what it had from then on would have no end.
            guard !state.transaction.isOpen || state.transaction.belongs(to: state.run) else { return .ended }
            // Of an attempt that has its verdict the application may hold the next one, which is the same to the tracker.
            guard !message.hasVerdict, state.tracker.claim(message.sequence) == .settled else { return .repeated }
            _ = message.give(.claimed)
            state.transaction.join(transaction, run: state.run)
            return .taken
        }
    }

    /// How far a transaction commits the partition.
    ///
    /// - Throws: `assignmentEnded` where the partition is not ours any more; `invalidArgument` where something before
    ///   what was put into the transaction is unsettled: committing that would skip it.
    func claimTarget() throws(KafkaError) -> Int64 {
        let target = state.withLock { $0.mayEndTransaction ? $0.tracker.claimTarget : nil }
        guard let target else { throw assignmentEnded }
        guard target.isComplete else {
            throw .invalidArgument(
                "\(partition): a delivery before those that were put into the transaction has no verdict, and committing "
                    + "would skip it"
            )
        }
        return target.offset
    }

    /// - Throws: `assignmentEnded` where the partition is not ours any more.
    func checkTransaction() throws(KafkaError) {
        if state.withLock({ !$0.mayEndTransaction }) { throw assignmentEnded }
    }

    private var assignmentEnded: KafkaError {
        KafkaError(
            .assignmentEnded,
            persistence: .notPersisted,
            recovery: .retry,
            reason: "\(partition) went to another member of the group, or was sought elsewhere, before the transaction "
                + "was committed"
        )
    }

    /// The transaction has committed.
    func settleClaims(at offset: Int64) {
        endTransaction { state in
            state.tracker.settleClaims(at: offset)
            noteTransaction(at: offset, &state)
        }
    }

    /// The transaction was aborted: its deliveries are handed out again, in order and before anything later.
    func rejectClaims(_ messages: [ReceivedMessage]) {
        let now = core.backoff.now
        endTransaction { state in
            state.tracker.rejectClaims()
            for message in messages { state.keep(message, due: now, holdsPartition: true) }
        }
    }

    /// It will not be found out whether the transaction was committed. Its deliveries are handed to no loop until the partition is read
    /// anew, from where the group says.
    func abandonClaims() {
        endTransaction { $0.tracker.abandonClaims() }
    }

    private func endTransaction(_ body: (inout State) -> Void) {
        let (isDrained, isUncommitted) = state.withLock { state in
            if state.mayEndTransaction { body(&state) }
            state.transaction.end()
            state.isWindowFull = false
            return (isWaitedFor(&state), state.tracker.commitTarget != nil)
        }
        // What was acknowledged the plain way had to wait for the transaction, and its commit may have been due.
        if isUncommitted { core.noteAcknowledged() }
        // There is something to hand out again, or room to read more.
        core.signal(self)
        if isDrained { core.interrupt() }
    }
}

extension PartitionReader.State {
    /// Whether what the transaction had is still there to be settled: the partition is ours, and did not begin again.
    fileprivate var mayEndTransaction: Bool { gate.phase != .ended && transaction.belongs(to: run) }
}
