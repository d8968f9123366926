/// The deliveries that are part of a transaction, by the partition they come from.
struct TransactionClaims: Sendable {
    struct Partition: Sendable {
        let reader: PartitionReader
        var messages: [ReceivedMessage] = []
        /// Where the transaction takes the partition, once that is fixed.
        var target: Int64?
    }

    private var partitions: [ObjectIdentifier: Partition] = [:]

    var isEmpty: Bool { partitions.isEmpty }

    mutating func add(
        _ delivery: KafkaConsumer.Delivery,
        from consumer: KafkaConsumer,
        transaction: UInt64
    ) throws(KafkaError) {
        guard let message = delivery.received, message.reader.core === consumer.core else {
            throw .invalidArgument("\(delivery) does not come from the consumer that was named")
        }
        let reader = message.reader
        switch message.claim(for: transaction) {
        case .taken:
            partitions[ObjectIdentifier(reader), default: Partition(reader: reader)].messages.append(message)
        case .repeated:
            throw .invalidArgument("\(delivery) has its verdict already")
        case .otherTransaction:
            throw .invalidArgument("\(delivery): another transaction has deliveries of its partition")
        case .ended:
            throw KafkaError(
                .assignmentEnded,
                persistence: .notPersisted,
                recovery: .abortTransaction,
                reason: "\(delivery): its partition went to another member of the group"
            )
        }
    }

    /// The consumers they come from.
    var consumers: [ConsumerCore] {
        var seen: Set<ObjectIdentifier> = []
        return partitions.values.map(\.reader.core).filter { seen.insert(ObjectIdentifier($0)).inserted }
    }

    /// Fixes how far the transaction commits each partition: what is acknowledged from now on does not count.
    ///
    /// - Throws: ``PartitionReader/claimTarget()``'s errors.
    mutating func fixTargets() throws(KafkaError) {
        for (key, partition) in partitions {
            let target = try partition.reader.claimTarget()
            partitions[key]?.target = target
        }
    }

    /// What a consumer's group commits with the transaction.
    func offsets(of consumer: ConsumerCore) -> [PartitionOffset] {
        partitions.values.lazy.filter { $0.reader.core === consumer }.compactMap { entry in
            entry.target.map { PartitionOffset(partition: entry.reader.partition, offset: $0) }
        }
    }

    /// - Throws: `assignmentEnded` where a partition is not ours any more.
    func check() throws(KafkaError) {
        for entry in partitions.values { try entry.reader.checkTransaction() }
    }

    /// The transaction has committed.
    func settle() {
        for entry in partitions.values { entry.end(isCommitted: true) }
    }

    /// The transaction was aborted: everything is handed out again, in order.
    func reject() {
        for entry in partitions.values { entry.end(isCommitted: false) }
    }

    /// It will not be found out whether the transaction was committed.
    func abandon() {
        for entry in partitions.values { entry.reader.abandonClaims() }
    }

    /// Settles or rejects what comes from a consumer, by what its group has committed.
    func resolve(_ consumer: ConsumerCore, committed: [KafkaTopicPartition: Int64]) {
        for entry in partitions.values where entry.reader.core === consumer {
            let offset = committed[entry.reader.partition] ?? -1
            entry.end(isCommitted: offset >= entry.target ?? .max)
        }
    }

    /// The partitions of a consumer that are still its own.
    func currentPartitions(of consumer: ConsumerCore) -> [KafkaTopicPartition] {
        partitions.values.lazy.map(\.reader).filter { $0.core === consumer && (try? $0.checkTransaction()) != nil }
            .map(\.partition)
    }
}

extension TransactionClaims.Partition {
    fileprivate func end(isCommitted: Bool) {
        if isCommitted, let target { reader.settleClaims(at: target) } else { reader.rejectClaims(messages) }
    }
}
