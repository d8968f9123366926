/// How a slot's next batch is sent, from what became of the last ones: a value.
///
/// Usually together. After a batch that was refused as a whole, with no word about which record is at fault, the next one is smaller and its
/// records are sent one after the other, in a transaction of its own under a note of its own: so the one at fault has an answer of its own,
/// and where there is none, because only together they are too large, they are stored. After a number of such batches it is tried
/// together again; the number doubles for as long as that fails.
struct KafkaSlotCare: Sendable, Equatable {
    /// How many records a batch has at most that is sent one after the other.
    static let mostAtATime = 128
    /// The longest run of such batches.
    static let longestRun = 64

    /// How many more batches are sent one after the other.
    private(set) var left = 0
    /// How long the last such run was.
    private var run = 0
    private var limit = Self.mostAtATime
    /// The number of a batch of which it is certain that it was not stored and never will be, because its transaction was aborted, or its
    /// producer given up before it was told to commit. No other batch ever has this number.
    private(set) var notStored: Int64?

    /// Whether records are sent one after the other.
    var isOneByOne: Bool { left > 0 }

    /// How many records the next batch has at most; nil where nothing is against as many as there are.
    var maximumCount: Int? { isOneByOne ? limit : nil }

    /// Nothing to remember.
    var isUsual: Bool { self == KafkaSlotCare() }

    enum Fate {
        /// The whole batch is stored.
        case stored
        /// Nothing is stored, for a reason that is not in the batch.
        case failed
        /// Nothing is stored, and one or all of its records are at fault, together or by themselves.
        case refusedTogether
        /// Nothing is stored, for it took too long for one transaction.
        case tookTooLong
        /// Nothing is stored, and the first record that is at fault has so many before it.
        case culprit(at: Int)
    }

    /// Takes note of a batch.
    ///
    /// - Parameter number: Its number.
    mutating func note(_ fate: Fate, of number: Int64) {
        switch fate {
        case .stored:
            notStored = nil
            if isOneByOne {
                left -= 1
                limit = min(limit * 2, Self.mostAtATime)
            } else {
                run /= 2
            }
            return
        case .failed: break
        case .refusedTogether, .tookTooLong:
            if isOneByOne { limit = max(1, limit / 2) }
            run = max(1, min(run * 2, Self.longestRun))
            left = run
        case .culprit(let index):
            // What comes before it is known to be good, and goes first.
            if isOneByOne { limit = min(max(1, index), Self.mostAtATime) }
        }
        notStored = number
    }
}
