/// Whether anything of a partition is handed out: while it is ours and read, neither paused nor on its way to another offset, and
/// has not failed. A value without threads; the reader keeps it under its lock.
struct HandOutGate {
    enum Phase {
        case reading
        /// Nothing more is handed out; verdicts still count.
        case stopped
        /// Not ours any more: verdicts change nothing.
        case ended
    }

    private(set) var phase = Phase.reading
    /// Nothing is handed out until the application resumes.
    private(set) var isPaused = false
    /// How many seeks are under way: nothing is handed out until the last of them is over.
    private var pendingSeeks = 0
    /// Why loops over the partition end; nil where they do not.
    private(set) var failure: KafkaError?
    /// Whether librdkafka does not fetch the partition any more.
    private(set) var isFetchStopped = false

    var isSeeking: Bool { pendingSeeks > 0 }

    /// Whether nothing is handed out before the application resumes, or a seek is over.
    var isHeld: Bool { isPaused || isSeeking }

    mutating func pause() {
        isPaused = true
    }

    /// - Returns: Whether it was paused.
    mutating func resume() -> Bool {
        defer { isPaused = false }
        return isPaused
    }

    /// - Returns: False where the partition is not being read any more.
    mutating func beginSeek() -> Bool {
        guard phase == .reading else { return false }
        pendingSeeks += 1
        return true
    }

    mutating func finishSeek() {
        pendingSeeks -= 1
    }

    /// The partition goes on at another offset, so what kept it from going on at the old one is over.
    mutating func beginAgain() {
        failure = nil
        isFetchStopped = false
    }

    /// The partition cannot go on. The first failure counts.
    mutating func fail(_ error: KafkaError, isFetchStopped isStopped: Bool) {
        if failure == nil { failure = error }
        if isStopped { isFetchStopped = true }
    }

    mutating func stop() {
        if phase == .reading { phase = .stopped }
    }

    mutating func end() {
        phase = .ended
    }
}
