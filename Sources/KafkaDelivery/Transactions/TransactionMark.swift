/// An offset of a group without members that is committed with a transaction: a mark of how far a sender has come, which is stored
/// together with what it sent or not at all (KIP-447's `TxnOffsetCommit`, without a generation). The partition has to exist; the
/// offset may be any number.
struct TransactionMark: Sendable {
    let group: String
    let partition: KafkaTopicPartition
    let offset: Int64
}

extension KafkaTransactionalProducer.Transaction {
    /// Makes an offset of a group without members part of the transaction.
    ///
    /// - Throws: ``KafkaError`` of kind `invalidArgument` after the transaction's end, or where the offset is below zero.
    package func mark(
        _ offset: Int64,
        of partition: KafkaTopicPartition,
        group: String
    ) throws(KafkaError) {
        guard offset >= 0, !group.isEmpty, !group.utf8.contains(0) else {
            throw .invalidArgument("a mark has a group, and an offset of zero or more")
        }
        try [partition].validate()
        try scope.add(TransactionMark(group: group, partition: partition, offset: offset))
    }
}
