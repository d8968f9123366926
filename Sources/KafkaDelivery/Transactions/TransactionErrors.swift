/// What errors mean for a transaction as a whole.
extension KafkaError {
    /// The error of a transaction that was aborted because of this one: nothing of it is stored, and doing all of it again
    /// helps, except where the request itself is at fault.
    var abortedTransaction: KafkaError {
        // No other producer's messages travel with a transaction's: what is at fault is in it, and will be again.
        if kind == .batchRefused { return refusedInTransaction(recovery: .fixRequest) }
        let recovery: Recovery =
            switch (kind, self.recovery) {
            case (.messageTooLarge, _), (.invalidArgument, _), (.authorization, _), (.authentication, _),
                (.unknownTopicOrPartition, _), (.invalidConfiguration, _):
                .fixRequest
            case (.closed, _): .recreateClient
            default: .retry
            }
        // What would be fatal to a plain producer is not to a transaction: it was aborted, and that is over.
        return KafkaError(
            kind == .fatal ? .broker : kind,
            persistence: .notPersisted,
            recovery: recovery,
            reason: kind == .cancelled || kind == .closed ? reason : "the transaction was aborted: \(reason)",
            code: code
        )
    }

    /// The error of a client that cannot go on.
    var recreating: KafkaError {
        KafkaError(
            kind == .fenced ? .fenced : .fatal,
            persistence: persistence,
            recovery: .recreateClient,
            reason: kind == .fenced
                ? "another producer with this transactional id has taken over (\(reason))" : reason,
            code: code
        )
    }

    /// The error of a transaction with a message that was refused together with others of it.
    func refusedInTransaction(recovery: Recovery) -> KafkaError {
        KafkaError(
            .batchRefused,
            persistence: .notPersisted,
            recovery: recovery,
            reason: "the transaction \(recovery == .fixRequest ? "was" : "has to be") aborted: \(reason); "
                + "send, one message after the other, tells which it is",
            code: code
        )
    }

    func explaining(_ what: String, persistence: Persistence) -> KafkaError {
        KafkaError(kind, persistence: persistence, recovery: recovery, reason: "\(what): \(reason)", code: code)
    }

    /// Whether it only says that a message was let go of because its transaction has failed or was aborted, or that a
    /// transaction which has failed takes no more.
    var isOfFailedTransaction: Bool {
        ["_PURGE_QUEUE", "_PURGE_INFLIGHT", "_STATE"].contains(code)
    }
}
