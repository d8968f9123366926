/// What a broker remembers of the idempotent producers that write to its partitions, so that a batch that is sent again
/// is stored once: Kafka's `ProducerStateManager`, KIP-98 and KIP-360.
struct SequenceKeeper {
    struct Partition: Hashable {
        let topic: String
        let partition: Int32
    }

    /// What a batch says of its producer and its sequence numbers.
    struct Batch: Equatable {
        let producerID: Int64
        let epoch: Int16
        let firstSequence: Int32
        let count: Int32

        var lastSequence: Int32 { Self.sequence(firstSequence, plus: count - 1) }

        /// Sequence numbers begin at 0 again after the greatest.
        static func sequence(_ sequence: Int32, plus count: Int32) -> Int32 {
            Int32((Int64(sequence) + Int64(count)) & Int64(Int32.max))
        }
    }

    enum Decision: Equatable {
        /// It comes next. Tell ``stored(_:in:at:)`` when it is stored.
        case append
        /// It is stored already, from this offset on.
        case duplicate(offset: Int64)
        /// A batch before it is missing (`OUT_OF_ORDER_SEQUENCE_NUMBER`).
        case outOfOrder
        /// There is a newer producer (`INVALID_PRODUCER_EPOCH`).
        case fenced
    }

    private struct Writer {
        var epoch: Int16
        /// The last batches, the newest at the end.
        var batches: [(batch: Batch, offset: Int64)] = []
    }

    private struct WriterID: Hashable {
        let partition: Partition
        let producerID: Int64
    }

    /// As many as a producer may have under way, and as many as Kafka remembers.
    private static let maximumBatches = 5

    private var writers: [WriterID: Writer] = [:]

    func check(_ batch: Batch, in partition: Partition) -> Decision {
        // A producer that the partition has not seen may begin anywhere: its past may have been deleted.
        guard let writer = writers[WriterID(partition: partition, producerID: batch.producerID)] else { return .append }
        if batch.epoch < writer.epoch { return .fenced }
        if batch.epoch > writer.epoch { return batch.firstSequence == 0 ? .append : .outOfOrder }
        if let stored = writer.batches.first(where: { $0.batch == batch }) { return .duplicate(offset: stored.offset) }
        guard let last = writer.batches.last?.batch.lastSequence else { return .append }
        return batch.firstSequence == Batch.sequence(last, plus: 1) ? .append : .outOfOrder
    }

    mutating func stored(_ batch: Batch, in partition: Partition, at offset: Int64) {
        let id = WriterID(partition: partition, producerID: batch.producerID)
        var writer = writers[id] ?? Writer(epoch: batch.epoch)
        if writer.epoch != batch.epoch { writer = Writer(epoch: batch.epoch) }
        writer.batches.append((batch, offset))
        if writer.batches.count > Self.maximumBatches { writer.batches.removeFirst() }
        writers[id] = writer
    }
}
