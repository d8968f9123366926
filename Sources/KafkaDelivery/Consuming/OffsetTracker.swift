internal import DequeModule

/// Which of the deliveries that were handed out are settled, and how far the partition may be committed.
///
/// Knows the offsets that were handed out and nothing else: transactions' control records and compaction leave gaps, so
/// no offset is ever worked out from another, but for the one "+1" in ``nextToRead(after:)``.
struct OffsetTracker {
    /// A delivery's number: how many were handed out before it in this generation.
    typealias Sequence = DeliverySequence

    private struct Entry {
        let offset: Int64
        /// When it was handed out last.
        var stamp: StuckHandlerClock.Stamp
        var state: State
        /// Whether the application has held it for too long.
        var isStuck = false
    }

    private enum State: UInt8 {
        /// Held by the application.
        case held
        /// Part of a transaction that has not ended: as good as held by the application, and not for a plain commit.
        case claimed
        /// The application let go of it without a verdict: it cannot be settled any more.
        case abandoned
        /// Negatively acknowledged, and waiting to be handed out again.
        case rejected
        case settled

        var isHeld: Bool { self == .held || self == .claimed }
    }

    /// What a verdict came to.
    enum Effect {
        case settled
        /// It was settled before: nothing changes.
        case repeated
    }

    /// In the life of the generation.
    private(set) var totals = DeliveryTotals()
    private var entries: Deque<Entry> = []
    /// How many messages the settled prefix has.
    private(set) var firstSequence: Sequence = 0
    /// The first delivery since the partition began again, see ``restart()``.
    private var firstOfRun: Sequence = 0

    /// How many deliveries are handed out and not settled.
    private(set) var unsettledCount = 0
    /// How many of those the application still holds, or are part of a transaction.
    private(set) var heldCount = 0
    /// How many of those have been for too long, see ``markStuck(before:)``.
    private(set) var stuckCount = 0
    /// How many of those are part of a transaction.
    private(set) var claimedCount = 0
    /// Where a commit may go: the offset after the longest settled prefix; nil where nothing is settled.
    private(set) var committable: Int64?
    /// Where the broker says that the partition is committed, as far as this generation knows.
    private(set) var committed: Int64?

    /// How many messages of the generation the broker has, or count no longer.
    private(set) var committedSequence: Sequence = 0

    /// How many messages were handed out that the broker is not known to have.
    var uncommittedSequences: Sequence { nextSequence - committedSequence }

    /// How many settled messages the broker is not known to have.
    var uncommittedCount: Int {
        Int(max(firstSequence, committedSequence) - committedSequence) + settledBehindCount
    }

    /// How many deliveries are settled behind one that is not: no commit can include them yet.
    var settledBehindCount: Int { entries.count - unsettledCount }

    /// How many entries the window has, settled ones behind an unsettled one included.
    var windowCount: Int { entries.count }

    /// How many messages were handed out for the first time.
    var nextSequence: Sequence { firstSequence + Sequence(entries.count) }

    /// The earliest delivery that is not settled, and when it was handed out last.
    var firstUnsettled: (offset: Int64, stamp: StuckHandlerClock.Stamp)? { entries.first.map { ($0.offset, $0.stamp) } }

    /// Kafka commits the offset to read next.
    static func nextToRead(after offset: Int64) -> Int64 {
        offset == .max ? offset : offset + 1
    }

    /// Notes that a message is given out. Offsets only ever grow.
    mutating func handOut(_ offset: Int64, at stamp: StuckHandlerClock.Stamp = 0) -> Sequence {
        entries.append(Entry(offset: offset, stamp: stamp, state: .held))
        unsettledCount += 1
        heldCount += 1
        totals.delivered += 1
        return firstSequence + Sequence(entries.count - 1)
    }

    /// Notes that a delivery is finished, and moves what may be committed over the settled prefix.
    mutating func settle(_ sequence: Sequence) -> Effect {
        guard sequence >= firstSequence else { return .repeated }
        let index = Int(sequence - firstSequence)
        guard index < entries.count else { return .repeated }
        let entry = entries[index]
        guard entry.state == .held else { return .repeated }
        heldCount -= 1
        if entry.isStuck { stuckCount -= 1 }
        unsettledCount -= 1
        totals.acknowledged += 1
        if index == 0 {
            removeFirst(entry)
            removeSettledPrefix()
        } else {
            entries[index].state = .settled
        }
        return .settled
    }

    private mutating func removeSettledPrefix() {
        while let entry = entries.first, entry.state == .settled { removeFirst(entry) }
    }

    private mutating func removeFirst(_ entry: Entry) {
        committable = Self.nextToRead(after: entry.offset)
        entries.removeFirst()
        firstSequence += 1
    }

    /// Whether a delivery is handed out, or to be handed out again.
    func isUnsettled(_ sequence: Sequence) -> Bool {
        guard sequence >= firstSequence else { return false }
        let index = Int(sequence - firstSequence)
        return index < entries.count && entries[index].state != .settled
    }

    /// Notes that a delivery was let go of without a verdict: it stays unsettled, and is not to be waited for.
    mutating func abandon(_ sequence: Sequence) {
        _ = change(sequence, from: .held, to: .abandoned)
    }

    /// Notes that a delivery is to be handed out again: it stays unsettled, and the application does not hold it.
    mutating func reject(_ sequence: Sequence) -> Effect {
        guard change(sequence, from: .held, to: .rejected) else { return .repeated }
        totals.rejected += 1
        return .settled
    }

    /// Notes that a rejected delivery is handed out again.
    mutating func handOutAgain(_ sequence: Sequence, at stamp: StuckHandlerClock.Stamp = 0) {
        guard change(sequence, from: .rejected, to: .held) else { return }
        totals.redelivered += 1
        entries[Int(sequence - firstSequence)].stamp = stamp
    }

    /// A delivery that the application has held for too long.
    typealias Stuck = (offset: Int64, stamp: StuckHandlerClock.Stamp)

    /// Finds the deliveries that were handed out before a moment and that the application still holds; each is found once.
    mutating func markStuck(before late: StuckHandlerClock.Stamp) -> [Stuck] {
        guard heldCount > stuckCount else { return [] }
        var found: [Stuck] = []
        for index in entries.indices {
            let entry = entries[index]
            guard entry.state == .held, !entry.isStuck, StuckHandlerClock.isBefore(entry.stamp, late) else { continue }
            entries[index].isStuck = true
            stuckCount += 1
            found.append((entry.offset, entry.stamp))
        }
        return found
    }

    private mutating func change(_ sequence: Sequence, from old: State, to new: State) -> Bool {
        guard sequence >= firstSequence else { return false }
        let index = Int(sequence - firstSequence)
        guard index < entries.count, entries[index].state == old else { return false }
        entries[index].state = new
        if old == .held, entries[index].isStuck {
            entries[index].isStuck = false
            stuckCount -= 1
        }
        heldCount += (new.isHeld ? 1 : 0) - (old.isHeld ? 1 : 0)
        claimedCount += (new == .claimed ? 1 : 0) - (old == .claimed ? 1 : 0)
        return true
    }

    // MARK: Transactions

    /// Makes a delivery part of a transaction: it is settled when that commits, and not before.
    mutating func claim(_ sequence: Sequence) -> Effect {
        change(sequence, from: .held, to: .claimed) ? .settled : .repeated
    }

    /// Where a transaction takes the partition that settles everything claimed.
    ///
    /// - Returns: The offset after the longest prefix of settled and claimed deliveries, and whether that has all that
    ///   are claimed. If not, one before them is unsettled.
    var claimTarget: (offset: Int64, isComplete: Bool)? {
        guard claimedCount > 0 else { return nil }
        var offset: Int64?
        var missing = claimedCount
        for entry in entries {
            guard entry.state == .settled || entry.state == .claimed else { break }
            if entry.state == .claimed { missing -= 1 }
            offset = Self.nextToRead(after: entry.offset)
        }
        // The first is unsettled: there is no prefix at all.
        return (offset ?? committable ?? -1, missing == 0)
    }

    /// The transaction has committed: what it claimed is settled, and the broker has the offset.
    mutating func settleClaims(at offset: Int64) {
        let committedCount = firstSequence + Sequence(entries.prefix { $0.offset < offset }.count)
        for index in entries.indices where entries[index].state == .claimed { entries[index].state = .settled }
        unsettledCount -= claimedCount
        heldCount -= claimedCount
        totals.acknowledged += claimedCount
        claimedCount = 0
        removeSettledPrefix()
        didCommit(offset, settled: committedCount)
    }

    /// The transaction was aborted: what it claimed is to be handed out again.
    mutating func rejectClaims() {
        releaseClaims(to: .rejected)
    }

    /// It will not be found out whether the transaction was committed: what it claimed can neither be settled nor handed out.
    mutating func abandonClaims() {
        releaseClaims(to: .abandoned)
    }

    private mutating func releaseClaims(to state: State) {
        for index in entries.indices where entries[index].state == .claimed { entries[index].state = state }
        heldCount -= claimedCount
        claimedCount = 0
    }

    /// The offset that a commit should carry; nil where the broker has it already. Never less than one committed before.
    var commitTarget: Int64? {
        guard let committable, committable > committed ?? -1 else { return nil }
        return committable
    }

    /// The partition begins again at another offset: the application wants it so, or its log was cut or made anew. What was
    /// handed out before counts no longer, verdicts on it change nothing, and the next commit may go backwards.
    mutating func restart() {
        firstSequence += Sequence(entries.count)
        firstOfRun = firstSequence
        committedSequence = firstSequence
        entries = []
        unsettledCount = 0
        heldCount = 0
        stuckCount = 0
        claimedCount = 0
        committable = nil
        committed = nil
    }

    /// Whether a delivery is from before the partition began again.
    func isOutdated(_ sequence: Sequence) -> Bool {
        sequence < firstOfRun
    }

    /// Notes the broker's word. Answers may come late, and a commit never moves backwards.
    ///
    /// - Parameter sequence: How many messages of the generation the broker has with it.
    mutating func didCommit(_ offset: Int64, settled sequence: Sequence) {
        committed = max(offset, committed ?? offset)
        committedSequence = max(committedSequence, sequence)
    }
}
