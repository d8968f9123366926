/// Partitions that the group takes back, and how far that is: what is in hand is waited for, what was acknowledged is committed,
/// and then they are given back. A value without threads, of the consumer's thread.
struct Revocation<Partition> {
    typealias Instant = ContinuousClock.Instant

    enum Action {
        /// Commit what was acknowledged.
        case commit
        /// Give the partitions back: the revocation is over.
        case giveBack([PartitionOffset], [Partition])
    }

    private enum Phase {
        /// Waits for the deliveries in hand.
        case draining(until: Instant)
        /// Nothing in hand is waited for any more, and only the commit is.
        case committing(until: Instant)
        /// Only the member's leave is waited for, which closing takes by its own deadline.
        case leaving
    }

    private struct UnderWay {
        let offsets: [PartitionOffset]
        let partitions: [Partition]
        var phase: Phase
    }

    /// How long each of the two phases may take.
    private let limit: Duration
    private var underWay: UnderWay?

    init(limit: Duration) {
        self.limit = limit
    }

    var isUnderWay: Bool { underWay != nil }

    /// When a phase has taken as long as it may; nil where nothing is revoked, and where only the leave is waited for.
    var next: Instant? {
        switch underWay?.phase {
        case .draining(let until), .committing(let until): until
        case .leaving, nil: nil
        }
    }

    /// The group takes partitions back.
    ///
    /// - Parameters:
    ///   - offsets: What librdkafka is to be answered with.
    ///   - partitions: Those of them that were read.
    mutating func begin(_ offsets: [PartitionOffset], of partitions: [Partition], at now: Instant) {
        underWay = UnderWay(
            offsets: offsets,
            partitions: partitions,
            phase: .draining(until: now.advanced(by: limit.asTimeout))
        )
    }

    /// Takes the next step.
    ///
    /// - Parameters:
    ///   - isOver: Whether the partitions are lost, or the group is being left: then nothing is waited for.
    ///   - isDrained: Whether nothing that is worth waiting for is in hand of a partition.
    ///   - isCommitted: Whether nothing of these partitions is to be committed, and no commit is under way.
    ///   - leavesInstead: Whether the member takes its leave with these partitions. Given back before, they would be followed by
    ///     another join, in which it cannot.
    mutating func advance(
        at now: Instant,
        isOver: Bool,
        isDrained: (Partition) -> Bool,
        isCommitted: ([Partition]) -> Bool,
        leavesInstead: @autoclosure () -> Bool
    ) -> [Action] {
        guard let current = underWay else { return [] }
        if isOver { return giveBack(current) }
        switch current.phase {
        case .draining(let until):
            guard now >= until || current.partitions.allSatisfy(isDrained) else { return [] }
            var next = current
            next.phase = .committing(until: now.advanced(by: limit.asTimeout))
            underWay = next
            return [.commit]
        case .committing(let until):
            guard isCommitted(current.partitions) || now >= until else { return [] }
            guard leavesInstead() else { return giveBack(current) }
            underWay?.phase = .leaving
            return []
        case .leaving:
            return leavesInstead() ? [] : giveBack(current)
        }
    }

    private mutating func giveBack(_ current: UnderWay) -> [Action] {
        underWay = nil
        return [.giveBack(current.offsets, current.partitions)]
    }
}
