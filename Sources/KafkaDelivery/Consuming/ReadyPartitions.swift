internal import DequeModule

/// Which partitions have something to read, and who waits for one.
///
/// No loop owns a partition: a loop that was left need not say so (Swift does not destroy the iterator of a loop in top-level
/// code), and one may take any time for a delivery. So a loop that reads a partition merely goes on with it, and where there
/// is no other, further loops read it too. What is handed out to whom is decided under the reader's own lock.
///
/// A value without threads; the consumer keeps it behind a lock. It neither takes a reader's lock nor calls librdkafka,
/// because ``signal(_:)`` comes from librdkafka's threads with the partition's queue locked.
struct ReadyPartitions {
    /// Where a reader stands; kept in the reader, guarded by the lock around this value.
    enum Place {
        /// There was nothing to read when a loop looked last, and no news since.
        case idle
        /// There may be something to read, and no loop has begun to.
        case queued
        /// There may be something to read, and a loop has begun to. It may have gone since, or be busy with what it got.
        case shared
        /// There may be something to read, and it has a loop of its own.
        case owned
    }

    /// How often there was news of a partition: a loop's finding that there is nothing to read counts only where there was
    /// none since it was told to look.
    typealias News = UInt64

    enum Wake {
        /// There may be something to read in a partition.
        case look(PartitionReader, News)
        /// There will be nothing more.
        case ended
    }

    struct Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<Wake, Never>
        /// What is set when the service that waits is shut down.
        let shutdown: ShutdownWatch.Flag?
    }

    /// Whom to resume, outside of the lock.
    typealias Resumption = (waiter: Waiter, wake: Wake)

    private var queued = ReaderQueue()
    private var shared = ReaderQueue()
    private var owned = ReaderQueue()
    /// How many partitions of `queued` had their turn while one of `shared` waited.
    private var turns = 0
    private var waiters: Deque<Waiter> = []
    private var isClosed = false

    /// Whether loops wait for any partition.
    var hasWaiters: Bool { !waiters.isEmpty }

    /// There may be something to read.
    mutating func signal(_ reader: PartitionReader) -> [Resumption] {
        // Somebody may speak of a partition that has ended: a verdict that comes late, a transaction's end, `resume`. In the
        // queue it would wait for a loop that may never come, and keep the consumer alive, which keeps the queue.
        guard !reader.hasEnded else { return [] }
        reader.news += 1
        if !reader.waiters.isEmpty {
            share(reader)
            defer { reader.waiters = [] }
            return reader.waiters.map { ($0, .look(reader, reader.news)) }
        }
        // Also where a loop reads it already: that may be busy with a delivery, and in any case it finds what is there.
        if let resumption = handOn(reader) { return [resumption] }
        if reader.place == .idle {
            // One that has a loop of its own comes after those that have none.
            if reader.isClaimed { share(reader) } else { queue(reader) }
        }
        return []
    }

    private mutating func queue(_ reader: PartitionReader) {
        leave(reader)
        reader.place = .queued
        queued.append(reader)
    }

    private mutating func share(_ reader: PartitionReader) {
        leave(reader)
        if reader.isClaimed {
            reader.place = .owned
            owned.append(reader)
        } else {
            reader.place = .shared
            shared.append(reader)
        }
    }

    private mutating func leave(_ reader: PartitionReader) {
        switch reader.place {
        case .idle: break
        case .queued: queued.remove(reader)
        case .shared: shared.remove(reader)
        case .owned: owned.remove(reader)
        }
        reader.place = .idle
    }

    /// The partition whose turn it is.
    mutating func next() -> Wake? {
        // A partition may still be assigned while the consumer closes: nothing is handed out of it.
        if isClosed { return .ended }
        guard let reader = first() else { return nil }
        share(reader)
        return .look(reader, reader.news)
    }

    /// Those that no loop has begun with come first, so that loops read different partitions. Not always: one whose loop was left
    /// would wait for as long as any other has something to read.
    private mutating func first() -> PartitionReader? {
        let isSharedFirst = turns >= Self.turnsBesideShared
        let next = isSharedFirst ? shared.first ?? queued.first : queued.first ?? shared.first
        guard let reader = next ?? owned.first else { return nil }
        turns = reader.place == .queued && !shared.isEmpty ? turns + 1 : 0
        return reader
    }

    private static let turnsBesideShared = 7

    /// A loop found nothing to read.
    mutating func foundNothing(in reader: PartitionReader, since news: News) {
        // In the queue it is looked at again anyway.
        if reader.place != .queued, reader.news == news { leave(reader) }
    }

    /// A loop does not go on with a partition, in which there may be more to read.
    mutating func putBack(_ reader: PartitionReader) -> Resumption? {
        guard reader.place == .shared || reader.place == .owned, !reader.hasEnded else { return nil }
        if let resumption = handOn(reader) { return resumption }
        if !reader.isClaimed { queue(reader) }
        return nil
    }

    /// There may be more to read in a partition than a loop took: another one that waits reads it, too.
    mutating func handOn(_ reader: PartitionReader) -> Resumption? {
        guard !reader.hasEnded, let waiter = waiters.popFirst() else { return nil }
        share(reader)
        return (waiter, .look(reader, reader.news))
    }

    /// Waits for any partition; what there is already where there is no need to.
    mutating func wait(_ waiter: Waiter) -> Wake? {
        if let wake = next() { return wake }
        waiters.append(waiter)
        return nil
    }

    /// A partition has a loop of its own: the others look at it last.
    mutating func claim(_ reader: PartitionReader, by task: TaskIdentity?) {
        guard !reader.hasEnded else { return }
        reader.task = task
        guard !reader.isClaimed else { return }
        reader.isClaimed = true
        if reader.place != .idle { share(reader) }
    }

    /// The loop that a partition had of its own was left, and another one is given it.
    mutating func unclaim(_ reader: PartitionReader) {
        reader.isClaimed = false
        if reader.place == .owned { share(reader) }
    }

    /// A partition has a loop of its own no longer, where it had one.
    mutating func release(_ reader: PartitionReader) -> Resumption? {
        guard reader.isClaimed else { return nil }
        reader.isClaimed = false
        if let resumption = handOn(reader) { return resumption }
        queue(reader)
        return nil
    }

    /// Waits for news of one partition, in which the caller found nothing to read.
    mutating func wait(_ waiter: Waiter, for reader: PartitionReader, since news: News) -> Wake? {
        if reader.hasEnded || isClosed { return .ended }
        if reader.news != news { return .look(reader, reader.news) }
        foundNothing(in: reader, since: news)
        reader.waiters.append(waiter)
        return nil
    }

    /// Forgets a partition that ended.
    mutating func end(_ reader: PartitionReader) -> [Resumption] {
        leave(reader)
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

    /// The waiters of a service that is shut down.
    mutating func end(_ shutdown: ShutdownWatch.Flag, _ readers: some Sequence<PartitionReader>) -> [Resumption] {
        var ended = waiters.filter { $0.shutdown === shutdown }
        waiters.removeAll { $0.shutdown === shutdown }
        for reader in readers where !reader.waiters.isEmpty {
            ended += reader.waiters.filter { $0.shutdown === shutdown }
            reader.waiters.removeAll { $0.shutdown === shutdown }
        }
        return ended.map { ($0, .ended) }
    }

    /// There will be no more partitions.
    mutating func close() -> [Resumption] {
        isClosed = true
        defer { waiters = [] }
        return waiters.map { ($0, .ended) }
    }
}
