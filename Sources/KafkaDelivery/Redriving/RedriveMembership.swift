/// Which partitions a redrive has still to go through.
///
/// Where each ends is known from the beginning, so one that was gone through stays so, whichever member has it.
struct RedriveMembership {
    /// Nil before the first assignment.
    private var assigned: Set<Int>?
    private(set) var finished: Set<Int> = []

    /// Whether there is nothing to do, any more or for this member: others have what is left.
    var isComplete: Bool {
        assigned?.isSubset(of: finished) ?? false
    }

    mutating func assign(_ partitions: some Sequence<Int>) {
        assigned = (assigned ?? []).union(partitions)
    }

    mutating func revoke(_ partitions: some Sequence<Int>) {
        // Until the next assignment, what was revoked may come back.
        assigned = assigned.flatMap { before in
            let rest = before.subtracting(partitions)
            return rest.isEmpty ? nil : rest
        }
    }

    mutating func finish(_ partition: Int) {
        finished.insert(partition)
    }
}
