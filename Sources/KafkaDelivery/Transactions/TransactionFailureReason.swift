internal import DeliveryCore

extension KafkaTransactionalProducer.Transaction {
    /// Why the transaction cannot be committed any more, in the words of what failed first; nil where librdkafka knows of no such thing.
    ///
    /// When a transaction has failed librdkafka lets go of its messages, with an error that says no more than that, and answers the
    /// reason to the next transactional call. The call here is one that cannot do anything in a transaction, whatever its state:
    /// beginning another one (`rd_kafka_begin_transaction`, which is answered by `rd_kafka_txn_require_states0`).
    package func failure() async -> KafkaError? {
        guard scope.isOpen, let client = scope.core.client else { return scope.core.fatalError }
        let deadline = ContinuousClock.now.advanced(by: .seconds(5))
        let answer = await BlockingCall.run("kafka-transact", until: deadline) {
            Result<Void, RdKafkaClient.TransactionFailure>(failure: client.beginTransaction())
        }
        // "Not possible now" is what it is in a transaction that has not failed.
        guard case .failure(let failure) = answer, failure.remedy == .abort || failure.remedy == .recreate else {
            return nil
        }
        return failure.error
    }
}
