/// Decides for one generation of one partition what may be handed out, so that a message during whose handling the process
/// dies again and again is found. A value without threads; `PartitionReader` keeps it behind its lock.
///
/// A process that dies says nothing, so what has to be known is committed before a message is handed out:
///
/// 1. Before the first message of a generation: one start more at this offset. Progress and a clean end take it back.
/// 2. Where the generation before died without progress, this one is *cautious*: it hands out no more than
///    ``candidateCount`` messages beyond what is committed. Should it die too, the suspect is among those.
/// 3. Where too many starts made no progress, those messages are *candidates*: the whole consumer hands out one message at a
///    time, whose offset is committed before as the one being probed.
/// 4. A generation that finds a probe noted knows the suspect, which is handed out marked as such, for the dead letters.
struct PoisonDetector {
    enum Phase: Equatable {
        /// What is committed is not known yet.
        case reading
        /// It is known, and this start is not noted yet.
        case marking
        case free
        case cautious
        case probing
    }

    /// What to do with a message that could be handed out.
    enum Answer: Equatable {
        case handOut
        /// Keep it; there will be news.
        case wait
        /// Keep it, and let the consumer's thread know that something waits for a commit or for a turn.
        case ask
    }

    /// A partition's turn to hand out one message while the consumer is being probed.
    enum Turn: Equatable {
        case none
        /// A message waits for its turn.
        case wanted(Int64)
        /// It is next, and that is being committed.
        case noting(Int64)
        /// It may be handed out.
        case granted(Int64)
        /// It is in hand.
        case taken(Int64)
    }

    /// How many messages beyond the committed offset a cautious generation hands out at most.
    static let candidateCount: UInt64 = 64
    /// After so many messages were committed since, a generation need not be cautious any more: more than any generation
    /// hands out beyond what it commits, with the default settings.
    static let cautiousCount: UInt64 = 20_000

    let maximumCrashes: Int
    private(set) var phase = Phase.reading
    private(set) var turn = Turn.none
    /// Where the first message of this generation is.
    private(set) var position: Int64?
    /// What the broker has.
    private(set) var stored = CrashRecord.none
    /// … and beside which offset it was, when this generation began.
    private(set) var storedOffset: Int64?
    /// How many processes began where this one began, and died.
    private(set) var earlierCrashes = 0
    /// Handing out waits for a commit, because too much is uncommitted.
    private(set) var isLimited = false
    private var suspects: [Int64] = []
    private var isAtEnd = false
    private var hasCandidate = false
    /// Whether the whole consumer hands out one message at a time.
    private(set) var isOneAtATime = false
    /// Whether a message of some partition is being probed: then none is handed out again either.
    var isProbeOut = false

    init(maximumCrashes: Int) {
        // Two at least: the last start before a probe has to have been a cautious one, or its candidates are too many.
        self.maximumCrashes = max(maximumCrashes, 2)
    }

    // MARK: What was

    /// Takes what the group has committed for the partition.
    ///
    /// - Parameters:
    ///   - offset: Beside which offset the note was; nil where the group has none.
    ///   - isOwn: Whether this very process wrote it, in a generation that it lost: then the last start it counts has not
    ///     died, nor did the message being probed kill a process.
    mutating func read(_ note: CrashRecord, at offset: Int64? = nil, isOwn: Bool = false) {
        guard phase == .reading else { return }
        stored = note
        storedOffset = offset
        earlierCrashes = isOwn ? max(note.crashes - 1, 0) : note.crashes
        suspects = Array(Set(note.suspects + (isOwn ? [] : [note.probe]).compactMap(\.self)).sorted())
        phase = .marking
        if isAtEnd, !hasCandidate { forgive() }
    }

    /// Whether the partition's messages have to be handed out one at a time, and no other's at the same time.
    var needsProbing: Bool {
        switch phase {
        case .probing: true
        case .marking: nextPhase == .probing
        case .reading, .free, .cautious: false
        }
    }

    /// Whether a message killed a process.
    func isSuspect(_ offset: Int64) -> Bool { suspects.contains(offset) }

    /// How many processes a message has killed; nil where none is known to.
    func fatalCrashes(of offset: Int64) -> Int? { isSuspect(offset) ? earlierCrashes : nil }

    private var nextPhase: Phase {
        if !suspects.isEmpty || earlierCrashes >= maximumCrashes { return .probing }
        return earlierCrashes > 0 ? .cautious : .free
    }

    // MARK: Handing out

    /// A message that was read for the first time.
    ///
    /// - Parameter uncommitted: How many were handed out that are not committed.
    mutating func offer(_ offset: Int64, uncommitted: UInt64) -> Answer {
        hasCandidate = true
        isAtEnd = false
        switch phase {
        case .reading:
            return .wait
        case .marking:
            guard position == nil else { return .wait }
            position = offset
            return .ask
        case .cautious, .probing:
            if uncommitted >= Self.candidateCount {
                defer { isLimited = true }
                return isLimited ? .wait : .ask
            }
            isLimited = false
        case .free:
            break
        }
        guard isOneAtATime else {
            hasCandidate = false
            return .handOut
        }
        switch turn {
        case .granted(offset):
            turn = .taken(offset)
            hasCandidate = false
            return .handOut
        case .none:
            turn = .wanted(offset)
            return .ask
        case .wanted, .noting, .granted, .taken:
            return .wait
        }
    }

    /// Whether a message that was rejected may be handed out again: another one may be being probed, which nothing else may be
    /// blamed for.
    var mayHandOutAgain: Bool { !isOneAtATime || !isProbeOut }

    /// All that the partition holds was read.
    ///
    /// - Parameter isEmpty: Whether everything that was handed out is settled.
    mutating func reachedEnd(isEmpty: Bool) {
        isAtEnd = true
        if isEmpty { settledAll() }
    }

    /// Everything that was handed out is settled. At the end of the partition that clears what is left of it: what killed a
    /// process was there before.
    mutating func settledAll() {
        guard isAtEnd, !hasCandidate, phase != .reading else { return }
        forgive()
    }

    /// A delivery was acknowledged.
    ///
    /// - Parameters:
    ///   - isLast: Whether everything that was handed out is settled.
    ///   - isCommittable: Whether there is something to commit.
    /// - Returns: Whether it should be committed at once, because handing out waits for it.
    mutating func settled(isLast: Bool, isCommittable: Bool) -> Bool {
        if isLast { settledAll() }
        return isLimited && isCommittable
    }

    private mutating func forgive() {
        earlierCrashes = 0
        suspects = []
        if phase != .marking { phase = .free }
    }

    /// The partition's log was made anew: nothing that was known of its offsets holds.
    mutating func restart() {
        earlierCrashes = 0
        suspects = []
        position = nil
        storedOffset = nil
        turn = .none
        hasCandidate = false
        if phase != .reading { phase = .free }
    }

    // MARK: The whole consumer's probe

    mutating func setOneAtATime(_ isOneAtATime: Bool) {
        self.isOneAtATime = isOneAtATime
        if !isOneAtATime {
            turn = .none
            isProbeOut = false
        }
    }

    mutating func beginTurn() {
        if case .wanted(let offset) = turn { turn = .noting(offset) }
    }

    /// Lets the message go that waits for it, if that is what the broker has been told.
    mutating func grantTurn() -> Bool {
        guard case .noting(let offset) = turn, stored.probe == offset else { return false }
        turn = .granted(offset)
        return true
    }

    /// Gives back a turn that was not taken.
    mutating func returnTurn() {
        switch turn {
        case .noting, .granted: turn = .none
        case .none, .wanted, .taken: break
        }
    }

    /// The message has its verdict.
    mutating func endTurn() {
        if case .taken = turn { turn = .none }
    }

    // MARK: Committing

    /// What to commit, and what to note beside it; nil where the broker knows all of it.
    ///
    /// - Parameters:
    ///   - progress: How far what was handed out is settled beyond what is committed; nil where it is not, or must not be committed.
    ///   - committed: What was committed in this generation.
    ///   - isHeld: Whether offsets of this generation may be those of a log that is gone.
    ///   - isCleanEnd: Whether the partition is given back with nothing in hand. That takes back what earlier processes noted, also
    ///     where there was nothing to hand out.
    func target(
        progress: Int64?,
        committed: Int64?,
        isHeld: Bool,
        isCleanEnd: Bool
    ) -> (offset: Int64, note: CrashRecord)? {
        guard
            let offset = progress ?? committed ?? (isHeld ? nil : position) ?? (isCleanEnd ? storedOffset : nil)
        else { return nil }
        let note = record(at: offset, isCleanEnd: isCleanEnd)
        return progress != nil || note != stored ? (offset, note) : nil
    }

    /// What to commit along with an offset.
    ///
    /// - Parameter isCleanEnd: Whether the partition is given back with nothing in hand.
    func record(at offset: Int64, isCleanEnd: Bool) -> CrashRecord {
        let rest = suspects.filter { $0 >= offset }
        if isCleanEnd { return CrashRecord(suspects: rest) }
        let hasProgress = position.map { offset > $0 } ?? false
        let crashes =
            switch phase {
            case .reading, .free: hasProgress || position == nil ? 0 : earlierCrashes + 1
            // Should this process die, it was the first one here.
            case .cautious: hasProgress ? 1 : earlierCrashes + 1
            case .marking, .probing: earlierCrashes + 1
            }
        let probe: Int64? =
            switch turn {
            case .none, .wanted: nil
            case .noting(let offset), .granted(let offset), .taken(let offset): offset
            }
        return CrashRecord(crashes: crashes, probe: probe, suspects: rest)
    }

    /// Takes the broker's word.
    ///
    /// - Parameter settled: How many messages of this generation are committed.
    mutating func didCommit(_ offset: Int64, _ note: CrashRecord, settled: UInt64) {
        stored = note
        isLimited = false
        suspects.removeAll { $0 < offset }
        switch phase {
        case .marking where position != nil: phase = nextPhase
        case .probing where suspects.isEmpty && settled >= Self.candidateCount: phase = .cautious
        case .cautious where settled >= Self.cautiousCount: phase = .free
        case .reading, .marking, .probing, .cautious, .free: break
        }
    }
}
