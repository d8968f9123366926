internal import DequeModule

/// Which deliveries of a channel the broker has been answered, and which answers it can be given together. A value without
/// threads.
///
/// The broker numbers deliveries of a channel from 1. An answer with `multiple` settles everything up to a number, so it is given
/// only where all of that is acknowledged: nothing unsettled is ever covered by one. An answer to a number that was answered
/// before closes the channel (406).
struct AckTracker {
    private enum State {
        case unsettled
        case acknowledged
        /// The broker has its answer.
        case answered
    }

    private var states: Deque<State> = []
    /// The number of the first one in ``states``.
    private(set) var first: UInt64 = 1
    /// Acknowledged, and not told yet.
    private var acknowledged: [UInt64] = []
    /// Rejected, and not told yet; whether the queue gets it back.
    private var rejected: [(UInt64, Bool)] = []
    /// How many have no verdict.
    private(set) var unsettled = 0

    /// The number that the next delivery has.
    var next: UInt64 { first + UInt64(states.count) }

    /// The number of the first one without a verdict; the next number where all have one.
    var firstUnsettled: UInt64 {
        let index = states.firstIndex { state in
            if case .unsettled = state { true } else { false }
        }
        return first + UInt64(index ?? states.count)
    }

    /// How many verdicts the broker has not been told.
    var untold: Int { acknowledged.count + rejected.count }

    /// One more delivery.
    mutating func add() {
        states.append(.unsettled)
        unsettled += 1
    }

    func isUnsettled(_ tag: UInt64) -> Bool {
        guard let index = index(of: tag) else { return false }
        if case .unsettled = states[index] { return true }
        return false
    }

    /// - Returns: False where it has a verdict already.
    mutating func acknowledge(_ tag: UInt64) -> Bool {
        guard isUnsettled(tag), let index = index(of: tag) else { return false }
        states[index] = .acknowledged
        acknowledged.append(tag)
        unsettled -= 1
        return true
    }

    /// - Returns: False where it has a verdict already.
    mutating func reject(_ tag: UInt64, requeue: Bool) -> Bool {
        guard isUnsettled(tag), let index = index(of: tag) else { return false }
        states[index] = .answered
        rejected.append((tag, requeue))
        unsettled -= 1
        return true
    }

    /// What to tell the broker now.
    mutating func takeAnswers() -> [ClientMethod] {
        var answers: [ClientMethod] = rejected.map { .nack(tag: $0.0, requeue: $0.1) }
        rejected = []
        var last: UInt64?
        var covered = 0
        prefix: while let state = states.first {
            switch state {
            case .unsettled: break prefix
            case .acknowledged:
                last = first
                covered += 1
            case .answered: break
            }
            states.removeFirst()
            first += 1
        }
        // The last that was acknowledged: a number that has its answer is unknown to the broker.
        if let last { answers.append(.ack(tag: last, multiple: covered > 1)) }
        // Those behind one that is unsettled go by themselves: a message that backs off holds up nothing but its own place.
        for tag in acknowledged where tag >= first {
            guard let index = index(of: tag) else { continue }
            states[index] = .answered
            answers.append(.ack(tag: tag, multiple: false))
        }
        acknowledged = []
        return answers
    }

    private func index(of tag: UInt64) -> Int? {
        guard tag >= first, tag < next else { return nil }
        return Int(tag - first)
    }
}
