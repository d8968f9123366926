import ToolSupport

/// Counts what became of numbered messages: what their sender was told, against what is stored.
struct ExperimentTally: Equatable, Sendable {
    /// What the sender of a message was told.
    enum Answer: Sendable {
        /// It is stored; without confirmations: it was written to the network.
        case confirmed
        /// It is not stored.
        case failed
        /// It may be stored.
        case unknown
    }

    /// Messages that were given to a producer, or were there to be handled.
    private(set) var sent = 0
    private(set) var confirmed = 0
    private(set) var failed = 0
    private(set) var unknown = 0
    /// What a reader finds, repetitions included.
    private(set) var stored = 0
    /// Confirmed, and not there.
    private(set) var lost = 0
    /// There once more than needed, and each time after that.
    private(set) var duplicated = 0
    /// There for the first time after one that was sent later.
    private(set) var reordered = 0
    /// Said to have failed, and there all the same: a wrong answer, which nothing excuses.
    private(set) var wronglyFailed = 0
    /// Numbers that were not sent.
    private(set) var strange = 0

    /// - Parameters:
    ///   - answers: For each message that was sent, by its number, what its sender was told.
    ///   - stored: The numbers a reader found, in the order of the log.
    init(answers: [Int: Answer], stored found: some Sequence<Int>) {
        sent = answers.count
        var seen: Set<Int> = []
        var greatest = Int.min
        for number in found {
            stored += 1
            guard let answer = answers[number] else {
                strange += 1
                continue
            }
            guard seen.insert(number).inserted else {
                duplicated += 1
                continue
            }
            if number < greatest { reordered += 1 }
            greatest = max(greatest, number)
            if answer == .failed { wronglyFailed += 1 }
        }
        for (number, answer) in answers {
            switch answer {
            case .confirmed:
                confirmed += 1
                if !seen.contains(number) { lost += 1 }
            case .failed: failed += 1
            case .unknown: unknown += 1
            }
        }
    }

    /// What is wrong, by what the mode promises; nothing where it was kept.
    func broken(_ promise: ExperimentMode.Promise) -> [String] {
        var sentences: [String] = []
        if lost > 0, !promise.mayLose { sentences.append("\(count(lost, "message")) lost") }
        if duplicated > 0, !promise.mayRepeat { sentences.append("\(count(duplicated, "message")) duplicated") }
        if reordered > 0, !promise.mayLose, !promise.mayRepeat {
            sentences.append("\(count(reordered, "message")) out of order")
        }
        if wronglyFailed > 0 { sentences.append("\(count(wronglyFailed, "message")) said to have failed and stored") }
        if strange > 0 { sentences.append("\(count(strange, "message")) never sent") }
        return sentences
    }
}
