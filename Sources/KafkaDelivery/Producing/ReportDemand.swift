internal import Synchronization

/// Whether somebody waits for a report, and who reads them meanwhile.
///
/// Where nobody waits, as when messages are enqueued faster than they are confirmed, senders read reports in between, and the
/// producer's thread rests: woken for each of librdkafka's events it would cost more than it does. As soon as somebody waits
/// the thread reads again, and senders leave reports to it.
final class ReportDemand: Sendable {
    /// Whether somebody has begun to wait in the thread's last turn.
    private let isWanted = Atomic(true)
    /// Whether senders have read reports since.
    private let areRead = Atomic(false)
    private let isResting = Atomic(false)
    // Whoever waits wakes the thread, until there is none.
    private let sleep: Mutex<ProducerSleep?>

    init(_ sleep: ProducerSleep? = nil) {
        self.sleep = Mutex(sleep)
    }

    /// Somebody waits for a report from now on.
    func want() {
        // Who comes while the thread is in the middle of a turn may be heard a turn too early, and then waits for a rest of a
        // millisecond at most.
        guard !isWanted.load(ordering: .relaxed) else { return }
        // Either this sees that the thread rests, or that sees this before it does.
        isWanted.store(true, ordering: .sequentiallyConsistent)
        if isResting.load(ordering: .sequentiallyConsistent) { sleep.withLock { $0 }?.interrupt() }
    }

    /// Whether senders are to read reports: nobody waits for one.
    var isForSenders: Bool { !isWanted.load(ordering: .relaxed) }

    /// A sender has read reports.
    func noteReading() {
        if !areRead.load(ordering: .relaxed) { areRead.store(true, ordering: .relaxed) }
    }

    /// The thread begins a turn.
    ///
    /// - Returns: Whether it may rest instead: senders have read reports in the last one, and nobody has begun to wait.
    func mayRest() -> Bool {
        let wasWanted = isWanted.load(ordering: .relaxed)
        let wereRead = areRead.load(ordering: .relaxed)
        if wasWanted { isWanted.store(false, ordering: .sequentiallyConsistent) }
        if wereRead { areRead.store(false, ordering: .relaxed) }
        return wereRead && !wasWanted
    }

    /// The thread rests, where nobody has begun to wait meanwhile.
    func rest(_ pause: () -> Void) {
        isResting.store(true, ordering: .sequentiallyConsistent)
        if !isWanted.load(ordering: .sequentiallyConsistent) { pause() }
        isResting.store(false, ordering: .relaxed)
    }

    /// There is no thread any more.
    func end() {
        sleep.withLock { $0 = nil }
    }
}
