/// Which offsets of a partition were read, and what that makes of the next message: an offset tells a message within one life of
/// the log alone, which ends where the log is cut, or its topic deleted and made anew.
///
/// librdkafka fetches messages again that were read: around a rebalance it goes on from where the application was, which may be
/// one message before where it is, or, 2.0.2, from where the partition began; and where an assignment is set anew. Another log shows
/// in one of two ways: the brokers did not have what was asked for (``OffsetResets``), or, from 2.1.0 on, another leader has
/// stored the message (KIP-320). There is no third, and how late a message is read says nothing: handlers take as long as they
/// take.
///
/// Taking a repetition for another log loses what waits to be handed out again, and taking another log for a repetition loses
/// messages. A value without threads; the reader keeps it under its lock.
struct LogLife {
    enum Relation: Equatable {
        case next
        /// It was read before.
        case repeated
        /// What comes now are other messages, under offsets that may have been seen.
        case anotherLog
        /// One of the last two, where the first message did not tell whether it was fetched before a reset.
        case doubtful
    }

    /// The first and the last offset that were read; -1 where none was.
    private(set) var first: Int64 = -1
    private(set) var last: Int64 = -1
    /// The leader epoch of the last; -1 where that is not known.
    private var epoch: Int32 = -1
    /// How many resets were considered.
    private(set) var knownResets: Int
    /// Up to this offset, and not including it, what was read is from before a reset.
    private var resetAt: Int64?
    /// Whether that is not certain.
    private var isDoubtful = false

    init(knownResets: Int) {
        self.knownResets = knownResets
    }

    /// The partition goes on elsewhere.
    mutating func beginAgain() {
        self = LogLife(knownResets: knownResets)
    }

    /// As ``beginAgain()``, and what comes next was asked for after as many resets.
    mutating func beginAgain(knownResets: Int) {
        self = LogLife(knownResets: knownResets)
    }

    /// A message was read that is to be handed out.
    mutating func read(_ offset: Int64, epoch: Int32) {
        if first < 0 { first = offset }
        last = offset
        self.epoch = epoch
    }

    /// What a message is. Resets that were not considered come first.
    func relation(of offset: Int64, epoch: @autoclosure () -> Int32) -> Relation {
        guard offset <= last else { return .next }
        if isUnresolved { return isDoubtful ? .doubtful : .anotherLog }
        // All that was read in this life comes again after it.
        guard offset >= first else { return .anotherLog }
        if self.epoch >= 0, epoch() > self.epoch { return .anotherLog }
        return .repeated
    }

    /// The brokers did not have what was asked for, once or several times.
    ///
    /// - Parameters:
    ///   - resets: Those that were not considered yet.
    ///   - next: The message that is read now; nil where none is. Every message that was read before was fetched before the
    ///     resets, because each is counted before anything is fetched from the new offset.
    ///   - start: From where the partition was to be read, where nothing was read yet and that is known.
    ///   - isFetched: Whether something that was fetched may wait to be read. Looked at after the resets.
    mutating func note(_ resets: OffsetResets.News, next: Int64?, start: Int64?, isFetched: Bool) {
        guard last >= 0 else {
            if let next {
                knownResets = resets.count
                // At the offset that is not there, and beyond it, nothing had been fetched; nor had anything where that was the
                // first that was asked for.
                if next < resets.highest, start != resets.highest {
                    resetAt = resets.highest
                    isDoubtful = true
                }
            } else if !isFetched || start == resets.highest {
                knownResets = resets.count
            }
            return
        }
        knownResets = resets.count
        isDoubtful = false
        // Later messages of the same log: retention has deleted what comes before.
        if let next, next > last, next >= resets.highest { return resetAt = nil }
        resetAt = max(resets.highest, OffsetTracker.nextToRead(after: last))
    }

    /// Whether all that was read is from before a reset.
    var isUnresolved: Bool { resetAt.map { last < $0 } ?? false }

    /// Whether a commit that goes so far may belong to a log that is gone.
    func holdsCommit(_ offset: Int64?) -> Bool {
        guard let resetAt, !isDoubtful else { return false }
        return (offset ?? -1) <= resetAt
    }
}
