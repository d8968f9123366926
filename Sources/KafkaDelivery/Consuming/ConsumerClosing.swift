/// How far the end of a consumer is: what is in hand is waited for, what was acknowledged is committed, then the group is left,
/// each within its share of the time. A value without threads, of the consumer's thread.
struct ConsumerClosing {
    typealias Instant = ContinuousClock.Instant

    enum Action: Equatable {
        /// Commit what was acknowledged.
        case commit
        /// Leave the group.
        case leave
        /// Tell what was left behind: the tasks that wait in `close` are resumed.
        case finish
    }

    /// Which answer to a rebalance librdkafka may be given.
    enum Answer: Equatable {
        /// It has not been told to leave, and answers every call.
        case any
        /// It has, and waits for the partitions once at most.
        case last
        case none
    }

    private enum Phase {
        case open
        /// Waits for the deliveries in hand.
        case draining(until: Instant)
        case committing(until: Instant)
        /// Waits for the answer to a join that is under way, or for the coordinator: before it the group would not be told.
        case joining(until: Instant)
        case leaving
        /// The time is up, and `close` does not wait any longer. A client that is destroyed while it leaves its group waits for
        /// an answer to the last revocation, for ever and with a busy thread, so it gets that answer first.
        case leavingUnattended
        case ended
    }

    private var phase = Phase.open
    private var deadline: Instant?
    private var answer = Answer.any
    /// How many deliveries had no verdict in partitions that were given back since closing began.
    private(set) var unsettled = 0
    /// Whether the group was not told, because that was not possible in time.
    private(set) var isSilent = false

    var isUnderWay: Bool {
        if case .open = phase { false } else { true }
    }

    /// Whether librdkafka was told to leave the group.
    var isLeaving: Bool {
        switch phase {
        case .open, .draining, .committing, .joining: false
        case .leaving, .leavingUnattended, .ended: true
        }
    }

    /// Whether the consumer's thread may end.
    var hasEnded: Bool {
        if case .ended = phase { true } else { false }
    }

    /// When a phase has taken as long as it may.
    var next: Instant? {
        switch phase {
        case .draining(let until), .committing(let until), .joining(let until): until
        case .leaving: deadline
        case .open, .leavingUnattended, .ended: nil
        }
    }

    /// Begins to close, or has less time for it.
    ///
    /// - Returns: Whether it begins with this.
    mutating func begin(by deadline: Instant, at now: Instant) -> Bool {
        // A quarter of the time, at most two seconds, is kept for the last commit, and as much for leaving the group.
        let reserve = min(now.duration(to: deadline) / 4, .seconds(2))
        self.deadline = min(deadline, self.deadline ?? deadline)
        switch phase {
        case .open:
            phase = .draining(until: deadline - reserve * 2)
            return true
        case .draining(let until): phase = .draining(until: min(until, deadline - reserve * 2))
        case .committing(let until): phase = .committing(until: min(until, deadline - reserve))
        case .joining(let until): phase = .joining(until: min(until, deadline - reserve))
        case .leaving, .leavingUnattended, .ended: break
        }
        return false
    }

    /// Takes the next step.
    ///
    /// - Parameters:
    ///   - isDrained: Whether nothing is in hand any more.
    ///   - isCommitted: Whether what was acknowledged is committed, and no revocation has to end first.
    ///   - maySayGoodbye: Whether the group would hear of it if this member left now, or is not to hear anything.
    ///   - hasLeft: Whether librdkafka is done with the group.
    mutating func advance(
        at now: Instant,
        isDrained: @autoclosure () -> Bool,
        isCommitted: @autoclosure () -> Bool,
        maySayGoodbye: @autoclosure () -> Bool,
        hasLeft: @autoclosure () -> Bool
    ) -> [Action] {
        let deadline = deadline ?? now
        let remaining = now.duration(to: deadline)
        switch phase {
        case .open, .ended:
            return []
        case .draining(let until):
            guard now >= until || isDrained() else { return [] }
            phase = .committing(until: deadline - min(remaining / 2, .seconds(2)))
            return [.commit]
        case .committing(let until):
            guard now >= until || isCommitted() else { return [] }
            phase = .joining(until: deadline - min(remaining / 4, .seconds(1)))
            return advance(
                at: now,
                isDrained: isDrained(),
                isCommitted: isCommitted(),
                maySayGoodbye: maySayGoodbye(),
                hasLeft: hasLeft()
            )
        case .joining(let until):
            let isHeard = maySayGoodbye()
            guard now >= until || isHeard else { return [] }
            isSilent = !isHeard
            phase = .leaving
            return [.leave]
        case .leaving:
            let hasLeft = hasLeft()
            guard hasLeft || now >= deadline else { return [] }
            phase = hasLeft ? .ended : .leavingUnattended
            return [.finish]
        case .leavingUnattended:
            if hasLeft() { phase = .ended }
            return []
        }
    }

    /// librdkafka is being told to leave.
    ///
    /// - Parameter waitsForAnswer: Whether it waits for partitions to be given back once more.
    mutating func told(waitsForAnswer: Bool) {
        answer = waitsForAnswer ? .last : .none
    }

    /// There is no group to leave.
    mutating func end() {
        phase = .ended
    }

    /// Which answer may be given now; the last one is given once.
    mutating func takeAnswer() -> Answer {
        defer { if answer == .last { answer = .none } }
        return answer
    }

    /// Partitions were given back with deliveries that had no verdict.
    mutating func noteUnsettled(_ count: Int) {
        if isUnderWay { unsettled += count }
    }
}
