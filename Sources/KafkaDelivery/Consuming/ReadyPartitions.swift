internal import DequeModule

/// Which partitions have something to read, and who waits for one.
///
/// A value without threads; the consumer keeps it behind a lock. It neither takes a reader's lock nor calls librdkafka,
/// because ``signal(_:)`` comes from librdkafka's threads with the partition's queue locked.
struct ReadyPartitions {
    /// Where a reader stands; kept in the reader, guarded by the lock around this value.
    enum Place {
        case idle
        case queued
        /// A loop is reading it.
        case owned
        /// A loop is reading it, and there was news since it looked last.
        case ownedAndSignalled
    }

    enum Wake {
        /// There is a partition to read.
        case partition(PartitionReader)
        /// Look again: there was news of the partition that was waited for.
        case again
        /// There will be nothing more.
        case ended
    }

    struct Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<Wake, Never>
    }

    /// Whom to resume, outside of the lock.
    typealias Resumption = (waiter: Waiter, wake: Wake)

    private var queue: Deque<PartitionReader> = []
    private var waiters: Deque<Waiter> = []
    private var isClosed = false

    /// There may be something to read.
    mutating func signal(_ reader: PartitionReader) -> [Resumption] {
        // Somebody may speak of a partition that has ended: a verdict that comes late, a transaction's end, `resume`. In the
        // queue it would wait for a loop that may never come, and keep the consumer alive, which keeps the queue.
        guard !reader.hasEnded else { return [] }
        if !reader.waiters.isEmpty {
            defer { reader.waiters = [] }
            return reader.waiters.map { ($0, .again) }
        }
        switch reader.place {
        case .queued, .ownedAndSignalled:
            return []
        case .owned:
            reader.place = .ownedAndSignalled
            return []
        case .idle:
            return enqueue(reader).map { [$0] } ?? []
        }
    }

    private mutating func enqueue(_ reader: PartitionReader) -> Resumption? {
        if let waiter = waiters.popFirst() {
            reader.place = .owned
            return (waiter, .partition(reader))
        }
        reader.place = .queued
        queue.append(reader)
        return nil
    }

    /// The partition whose turn it is; it belongs to the caller until ``putBack(_:mayHaveMore:)``.
    mutating func next() -> Wake? {
        // A partition may still be assigned while the consumer closes: nothing is handed out of it.
        if isClosed { return .ended }
        if let reader = queue.popFirst() {
            reader.place = .owned
            return .partition(reader)
        }
        return nil
    }

    /// Gives a partition back. Where it was signalled meanwhile it is ready again, whatever the caller saw.
    mutating func putBack(_ reader: PartitionReader, mayHaveMore: Bool) -> Resumption? {
        let isReady = mayHaveMore || reader.place == .ownedAndSignalled
        guard reader.place == .owned || reader.place == .ownedAndSignalled else { return nil }
        reader.place = .idle
        return isReady ? enqueue(reader) : nil
    }

    /// Waits for any partition; false where there is no need to.
    mutating func wait(_ waiter: Waiter) -> Wake? {
        if let wake = next() { return wake }
        waiters.append(waiter)
        return nil
    }

    /// Takes a partition for a loop of its own.
    mutating func claim(_ reader: PartitionReader) {
        if reader.place == .queued { queue.removeAll { $0 === reader } }
        reader.place = .ownedAndSignalled
        reader.isClaimed = true
    }

    /// Gives a partition back that was taken for a loop of its own, where it was.
    mutating func release(_ reader: PartitionReader) -> Resumption? {
        guard reader.isClaimed else { return nil }
        reader.isClaimed = false
        reader.place = .idle
        return enqueue(reader)
    }

    /// Waits for news of one partition that the caller owns.
    mutating func wait(_ waiter: Waiter, for reader: PartitionReader) -> Wake? {
        if reader.hasEnded || isClosed { return .ended }
        if reader.place == .ownedAndSignalled {
            reader.place = .owned
            return .again
        }
        reader.waiters.append(waiter)
        return nil
    }

    /// Forgets a partition that ended.
    mutating func end(_ reader: PartitionReader) -> [Resumption] {
        if reader.place == .queued { queue.removeAll { $0 === reader } }
        reader.place = .idle
        reader.hasEnded = true
        defer { reader.waiters = [] }
        return reader.waiters.map { ($0, .ended) }
    }

    mutating func cancel(_ id: UInt64, for reader: PartitionReader?) -> Waiter? {
        if let reader {
            return reader.waiters.firstIndex { $0.id == id }.map { reader.waiters.remove(at: $0) }
        }
        return waiters.firstIndex { $0.id == id }.map { waiters.remove(at: $0) }
    }

    /// There will be no more partitions.
    mutating func close() -> [Resumption] {
        isClosed = true
        defer { waiters = [] }
        return waiters.map { ($0, .ended) }
    }
}
