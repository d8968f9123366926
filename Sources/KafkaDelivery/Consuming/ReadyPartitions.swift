internal import DequeModule

/// Which partitions have something to read, and which tasks wait for one.
///
/// No loop owns a partition: a loop that was left need not say so (Swift does not destroy the iterator of a loop in top-level
/// code), and one may take any time for a delivery. So a loop that reads a partition merely goes on with it, and where there
/// is no other, further loops read it too. What is handed out to whom is decided under the reader's own lock.
///
/// A value without threads; the consumer keeps it behind a lock, which guards what it writes into each partition's
/// ``PartitionReadiness`` too. It neither takes a reader's lock nor calls librdkafka,
/// because ``signal(_:)`` comes from librdkafka's threads with the partition's queue locked.
struct ReadyPartitions<Partition: ReadyPartition> {
    /// How often there was news of a partition: a loop's finding that there is nothing to read counts only where there was
    /// none since it was told to look.
    typealias News = UInt64

    enum Wake {
        /// There may be something to read in a partition.
        case look(Partition, News)
        /// There will be nothing more.
        case ended
    }

    struct Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<Wake, Never>
        /// What is set when the service that waits is shut down.
        let shutdown: ShutdownWatch.Flag?
    }

    /// Which task to resume, outside of the lock.
    typealias Resumption = (waiter: Waiter, wake: Wake)

    private var queued = ReadyQueue<Partition>()
    private var shared = ReadyQueue<Partition>()
    private var owned = ReadyQueue<Partition>()
    /// How many partitions of `queued` had their turn while one of `shared` waited.
    private var turns = 0
    private var waiters: Deque<Waiter> = []
    private var isClosed = false

    /// Whether loops wait for any partition.
    var hasWaiters: Bool { !waiters.isEmpty }

    /// There may be something to read.
    mutating func signal(_ reader: Partition) -> [Resumption] {
        // A partition that has ended may be signalled: by a verdict that comes late, a transaction's end, `resume`. In the
        // queue it would wait for a loop that may never come, and keep the consumer alive, which keeps the queue.
        guard !reader.readiness.hasEnded else { return [] }
        reader.readiness.news += 1
        if !reader.readiness.waiters.isEmpty {
            share(reader)
            defer { reader.readiness.waiters = [] }
            return reader.readiness.waiters.map { ($0, .look(reader, reader.readiness.news)) }
        }
        // Also where a loop reads it already: that may be busy with a delivery, and in any case it finds what is there.
        if let resumption = handOn(reader) { return [resumption] }
        if reader.readiness.state == .idle {
            // One that has a loop of its own comes after those that have none.
            if reader.readiness.hasOwnLoop { share(reader) } else { queue(reader) }
        }
        return []
    }

    private mutating func queue(_ reader: Partition) {
        leave(reader)
        reader.readiness.state = .queued
        queued.append(reader)
    }

    private mutating func share(_ reader: Partition) {
        leave(reader)
        if reader.readiness.hasOwnLoop {
            reader.readiness.state = .owned
            owned.append(reader)
        } else {
            reader.readiness.state = .shared
            shared.append(reader)
        }
    }

    private mutating func leave(_ reader: Partition) {
        switch reader.readiness.state {
        case .idle: break
        case .queued: queued.remove(reader)
        case .shared: shared.remove(reader)
        case .owned: owned.remove(reader)
        }
        reader.readiness.state = .idle
    }

    /// The partition whose turn it is.
    mutating func next() -> Wake? {
        // A partition may still be assigned while the consumer closes: nothing is handed out of it.
        if isClosed { return .ended }
        guard let reader = first() else { return nil }
        share(reader)
        return .look(reader, reader.readiness.news)
    }

    /// Those that no loop has begun with come first, so that loops read different partitions. Not always: one whose loop was left
    /// would wait for as long as any other has something to read.
    private mutating func first() -> Partition? {
        let isSharedFirst = turns >= Self.turnsBesideShared
        let next = isSharedFirst ? shared.first ?? queued.first : queued.first ?? shared.first
        guard let reader = next ?? owned.first else { return nil }
        turns = reader.readiness.state == .queued && !shared.isEmpty ? turns + 1 : 0
        return reader
    }

    private static var turnsBesideShared: Int { 7 }

    /// A loop found nothing to read.
    mutating func foundNothing(in reader: Partition, since news: News) {
        // In the queue it is looked at again anyway.
        if reader.readiness.state != .queued, reader.readiness.news == news { leave(reader) }
    }

    /// A loop does not go on with a partition, in which there may be more to read.
    mutating func putBack(_ reader: Partition) -> Resumption? {
        guard reader.readiness.state == .shared || reader.readiness.state == .owned, !reader.readiness.hasEnded
        else { return nil }
        if let resumption = handOn(reader) { return resumption }
        if !reader.readiness.hasOwnLoop { queue(reader) }
        return nil
    }

    /// There may be more to read in a partition than a loop took: another one that waits reads it, too.
    mutating func handOn(_ reader: Partition) -> Resumption? {
        guard !reader.readiness.hasEnded, let waiter = waiters.popFirst() else { return nil }
        share(reader)
        return (waiter, .look(reader, reader.readiness.news))
    }

    /// Waits for any partition; what there is already where there is no need to.
    mutating func wait(_ waiter: Waiter) -> Wake? {
        if let wake = next() { return wake }
        waiters.append(waiter)
        return nil
    }

    /// A partition has a loop of its own: the others look at it last.
    mutating func beginOwnLoop(_ reader: Partition, by task: TaskIdentity?) {
        guard !reader.readiness.hasEnded else { return }
        reader.readiness.task = task
        guard !reader.readiness.hasOwnLoop else { return }
        reader.readiness.hasOwnLoop = true
        if reader.readiness.state != .idle { share(reader) }
    }

    /// The loop that a partition had of its own was left, and another one is given it.
    mutating func endOwnLoop(_ reader: Partition) {
        reader.readiness.hasOwnLoop = false
        if reader.readiness.state == .owned { share(reader) }
    }

    /// A partition has a loop of its own no longer, where it had one.
    mutating func release(_ reader: Partition) -> Resumption? {
        guard reader.readiness.hasOwnLoop else { return nil }
        reader.readiness.hasOwnLoop = false
        if let resumption = handOn(reader) { return resumption }
        queue(reader)
        return nil
    }

    /// Waits for news of one partition, in which the caller found nothing to read.
    mutating func wait(_ waiter: Waiter, for reader: Partition, since news: News) -> Wake? {
        if reader.readiness.hasEnded || isClosed { return .ended }
        if reader.readiness.news != news { return .look(reader, reader.readiness.news) }
        foundNothing(in: reader, since: news)
        reader.readiness.waiters.append(waiter)
        return nil
    }

    /// Forgets a partition that ended.
    mutating func end(_ reader: Partition) -> [Resumption] {
        leave(reader)
        reader.readiness.hasEnded = true
        defer { reader.readiness.waiters = [] }
        return reader.readiness.waiters.map { ($0, .ended) }
    }

    mutating func cancel(_ id: UInt64, for reader: Partition?) -> Waiter? {
        if let reader {
            return reader.readiness.waiters.firstIndex { $0.id == id }.map { reader.readiness.waiters.remove(at: $0) }
        }
        return waiters.firstIndex { $0.id == id }.map { waiters.remove(at: $0) }
    }

    /// The waiters of a service that is shut down.
    mutating func end(_ shutdown: ShutdownWatch.Flag, _ readers: some Sequence<Partition>) -> [Resumption] {
        var ended = waiters.filter { $0.shutdown === shutdown }
        waiters.removeAll { $0.shutdown === shutdown }
        for reader in readers where !reader.readiness.waiters.isEmpty {
            ended += reader.readiness.waiters.filter { $0.shutdown === shutdown }
            reader.readiness.waiters.removeAll { $0.shutdown === shutdown }
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
