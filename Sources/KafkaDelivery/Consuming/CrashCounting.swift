/// What ``CrashCounting`` looks at of a partition.
protocol ProbedPartition: AnyObject {
    var partition: KafkaTopicPartition { get }
    /// Whether its messages have to be handed out one at a time, and no other's at the same time.
    var needsProbing: Bool { get }
    /// Whether a message waits for its turn.
    var wantsTurn: Bool { get }
    /// Whether the message that waits is a suspect's: nothing else should come before it.
    var hasSuspect: Bool { get }
    /// Whether the broker has been told of a message being probed here.
    var isProbeStored: Bool { get }
    /// How many deliveries the application holds.
    var heldCount: Int { get }
    /// Ends the turn where its message has its verdict, or will not be handed out.
    ///
    /// - Returns: Whether the turn is over.
    func endTurnIfOver() -> Bool
}

/// What the consumer's thread decides about crashes: when to read what the group has noted, whether the whole consumer hands out
/// one message at a time, and which partition's. A value without threads; ``PoisonSearch`` is its shell, and ``PoisonDetector``
/// decides for each partition.
struct CrashCounting<Partition: ProbedPartition> {
    typealias Instant = ContinuousClock.Instant

    enum Action {
        /// Ask for what is committed of these.
        case readNotes([Partition])
        /// Hand out one message at a time, in all partitions, or freely again.
        case setOneAtATime(Bool)
        /// Hand out no message again, so that none but the one being probed is blamed; then ask ``held(_:)``.
        case hold
        /// What was rejected may be handed out again.
        case release
        /// Note a partition's next message as the one being probed, beside what is committed.
        case beginTurn(Partition)
        /// Hand it out.
        case grantTurn(Partition)
        /// Commit what there is, and what is noted with it.
        case commit
    }

    /// How long after a question that failed the next one is asked.
    static var readInterval: Duration { .milliseconds(500) }

    /// Whether the whole consumer hands out one message at a time.
    private(set) var isOneAtATime = false
    private var turns = TurnQueue()
    /// A partition went during its turn: what the others hold back is let go.
    private var isReleaseDue = false
    /// Partitions whose committed offsets have to be asked for again, and when.
    private var unread: [(due: Instant, partitions: [Partition])] = []
    /// What this process committed last: what it finds again after it lost an assignment says nothing of others.
    private var written: [KafkaTopicPartition: PartitionOffset] = [:]

    /// When committed offsets have to be asked for again.
    var next: Instant? { unread.map(\.due).min() }

    /// What is committed of partitions could not be read.
    mutating func notRead(_ partitions: [Partition], at now: Instant) {
        unread.append((now.advanced(by: Self.readInterval), partitions))
    }

    /// This process commits.
    mutating func committing(_ offsets: [PartitionOffset]) {
        for offset in offsets { written[offset.partition] = offset }
    }

    /// Whether this process wrote what was found.
    func isOwn(_ entry: PartitionOffset) -> Bool {
        guard let own = written[entry.partition] else { return false }
        return own.offset == entry.offset && own.metadata == entry.metadata
    }

    /// A partition went.
    mutating func ended(_ partition: KafkaTopicPartition) {
        // Its turn ends with it, and the others go on.
        if turns.current == partition { isReleaseDue = true }
        turns.remove(partition)
    }

    /// Takes the next step.
    ///
    /// - Parameter partitions: All that are assigned.
    mutating func advance(_ partitions: [KafkaTopicPartition: Partition], at now: Instant) -> [Action] {
        var actions: [Action] = []
        let due = unread.filter { $0.due <= now }.flatMap(\.partitions)
        if !due.isEmpty {
            unread.removeAll { $0.due <= now }
            let current = due.filter { partitions[$0.partition] === $0 }
            if !current.isEmpty { actions.append(.readNotes(current)) }
        }
        let needsProbing = partitions.values.contains(where: \.needsProbing)
        if needsProbing != isOneAtATime {
            isOneAtATime = needsProbing
            turns.removeAll()
            isReleaseDue = false
            actions.append(.setOneAtATime(needsProbing))
            if !needsProbing { actions.append(.commit) }
        }
        if needsProbing { actions += advanceTurns(partitions) }
        return actions
    }

    /// One message at a time: the last one's end, then the next one's beginning, which is committed before it is handed out.
    private mutating func advanceTurns(_ partitions: [KafkaTopicPartition: Partition]) -> [Action] {
        var actions: [Action] = isReleaseDue ? [.release, .commit] : []
        isReleaseDue = false
        if let current = turns.current {
            if let partition = partitions[current], !partition.endTurnIfOver() {
                // Only when no other message is noted any more: two would both be blamed.
                let isOnlyOne = partitions.values.allSatisfy { $0 === partition || !$0.isProbeStored }
                return isOnlyOne ? [.grantTurn(partition)] : []
            }
            turns.end()
            // What has survived is not to be blamed for what happens next, also where no other partition wants a turn.
            actions = [.release, .commit]
        }
        for partition in partitions.values where partition.wantsTurn {
            turns.add(partition.partition, isUrgent: partition.hasSuspect)
        }
        return turns.begin() == nil ? actions : actions + [.hold]
    }

    /// No message is handed out again any more. What was handed out before is waited for.
    mutating func held(_ partitions: [KafkaTopicPartition: Partition]) -> [Action] {
        guard let next = turns.current else { return [] }
        guard partitions.values.allSatisfy({ $0.heldCount == 0 }) else {
            turns.postpone()
            return [.release]
        }
        return (partitions[next].map { [.beginTurn($0)] } ?? []) + [.commit]
    }
}
