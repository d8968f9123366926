/// Whether a consumer is out of its group because handlers are stuck, and until when. A value without threads, of the consumer's
/// thread.
///
/// A member cannot give up one partition, because the group's assignor would give it back: so it leaves as a whole, and joins again
/// when the application holds nothing any longer of what was stuck.
struct GroupLeave<Partition: AnyObject> {
    enum Action: Equatable {
        case leave
        case rejoin
    }

    private enum State {
        case member
        /// It is to leave as soon as the group would hear of it.
        case leaving
        case left
    }

    private var state = State.member
    /// The partitions that the stuck deliveries are from.
    private var stuck: [Partition] = []

    /// Whether it is to leave, or has left.
    var isUnderWay: Bool { state != .member }

    /// Handlers of partitions are stuck.
    ///
    /// - Returns: Whether it is for them that the consumer leaves.
    mutating func noteStuck(_ partitions: [Partition]) -> Bool {
        stuck += partitions
        guard state == .member else { return false }
        state = .leaving
        return true
    }

    /// Takes the next step.
    ///
    /// - Parameters:
    ///   - mayLeave: Whether the group would hear of it.
    ///   - isOut: Whether all partitions have been given back.
    ///   - isStuck: Whether the application still holds a stuck delivery of a partition.
    mutating func advance(mayLeave: Bool, isOut: Bool, isStuck: (Partition) -> Bool) -> Action? {
        switch state {
        case .member:
            return nil
        case .leaving:
            guard mayLeave else { return nil }
            state = .left
            return .leave
        case .left:
            guard isOut, !stuck.contains(where: isStuck) else { return nil }
            self = GroupLeave()
            return .rejoin
        }
    }
}
