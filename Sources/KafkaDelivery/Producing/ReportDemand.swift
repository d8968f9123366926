internal import Synchronization

/// Whether somebody waits for a report, and who reads them meanwhile.
///
/// Where nobody waits, as when messages are enqueued faster than they are confirmed, senders read reports in between, and the
/// producer's thread rests: woken for each of librdkafka's events it would cost more than it does. As soon as somebody waits
/// the thread reads again.
final class ReportDemand: Sendable {
    /// Whether somebody has begun to wait since the thread asked last. In doubt somebody has.
    private let isWanted = Atomic(true)
    private let areRead = Atomic(false)
    // Whoever waits wakes the thread, until there is none.
    private let sleep: Mutex<ProducerSleep?>

    init(_ sleep: ProducerSleep? = nil) {
        self.sleep = Mutex(sleep)
    }

    /// Somebody waits for a report from now on.
    func want() {
        // Who comes between the thread's question and its next one is not heard until then, which is a millisecond at most.
        guard !isWanted.load(ordering: .relaxed) else { return }
        guard !isWanted.exchange(true, ordering: .acquiringAndReleasing) else { return }
        sleep.withLock { $0 }?.interrupt()
    }

    /// Whether senders are to read reports: nobody waits for one.
    var isForSenders: Bool { !isWanted.load(ordering: .relaxed) || !areRead.load(ordering: .relaxed) }

    /// A sender has read reports.
    func noteReading() {
        if !areRead.load(ordering: .relaxed) { areRead.store(true, ordering: .relaxed) }
    }

    /// Whether the thread can rest: senders have read reports since it asked last, and nobody has begun to wait for one.
    func mayRest() -> Bool {
        guard areRead.load(ordering: .relaxed) else { return false }
        areRead.store(false, ordering: .relaxed)
        return !isWanted.exchange(false, ordering: .acquiringAndReleasing)
    }

    /// There is no thread any more.
    func end() {
        sleep.withLock { $0 = nil }
    }
}
