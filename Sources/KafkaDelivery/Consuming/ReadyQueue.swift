internal import DequeModule

/// Partitions in a row, out of which one is taken anywhere without searching for it. A partition is in one row at most.
///
/// A value without threads, behind the lock around ``ReadyPartitions``, which guards ``PartitionReadiness/slot`` too.
struct ReadyQueue<Partition: ReadyPartition> {
    // A partition that leaves from the middle leaves its slot behind, empty.
    private var slots: Deque<Partition?> = []
    /// The number of the first slot.
    private var start = 0
    private var count = 0

    var isEmpty: Bool { count == 0 }

    mutating func append(_ reader: Partition) {
        // Not more empty slots than taken ones, give or take: else a first one that stays lets the row grow for ever.
        if slots.count > 2 * count + 16 { compact() }
        reader.readiness.slot = start + slots.count
        slots.append(reader)
        count += 1
    }

    /// The one that is there longest; it stays.
    var first: Partition? {
        mutating get {
            while let slot = slots.first {
                if let slot { return slot }
                slots.removeFirst()
                start += 1
            }
            return nil
        }
    }

    mutating func remove(_ reader: Partition) {
        let index = reader.readiness.slot - start
        guard slots.indices.contains(index), slots[index] === reader else { return }
        slots[index] = nil
        count -= 1
    }

    private mutating func compact() {
        let readers = slots.compactMap(\.self)
        start = 0
        slots = Deque(readers)
        for (index, reader) in readers.enumerated() { reader.readiness.slot = index }
    }
}
