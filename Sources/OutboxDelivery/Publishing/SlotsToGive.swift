/// Slots that are due to other publishers, of which nothing is read, so that they can be given back once what is under way of them is
/// done. With a backlog none would ever be idle otherwise.
struct SlotsToGive {
    /// For how many beats a choice holds. A slot whose batch takes longer, at a destination that does not answer perhaps, is read again,
    /// for its rows for other destinations, and others are chosen.
    private static let patience = 3

    /// How many are due to others.
    private(set) var surplus = 0
    /// Which are not read.
    private(set) var slots: Set<Int> = []
    private var beats = 0
    /// Those that were chosen in vain.
    private var stuck: Set<Int> = []

    /// A beat: the session was balanced, and has so many too many.
    mutating func note(surplus: Int) {
        guard surplus > 0 else {
            self = SlotsToGive()
            return
        }
        self.surplus = surplus
        beats += 1
        guard beats > Self.patience else { return }
        beats = 1
        // Where nothing was chosen all were read for as long, and may be chosen again.
        stuck = slots.isEmpty ? [] : stuck.union(slots)
        slots = []
    }

    /// - Parameters:
    ///   - owned: Those that may be given back: not those that a retry keeps, which go on until that is decided.
    ///   - busy: Those with rows under way.
    mutating func choose(among owned: Set<Int>, busy: Set<Int>) {
        // Those that were chosen before are nearest to their end, and those that are idle are there.
        let order = owned.subtracting(stuck).map { slot in
            (slots.contains(slot) ? 0 : 1, busy.contains(slot) ? 1 : 0, slot)
        }
        slots = Set(order.sorted(by: <).prefix(surplus).map(\.2))
    }
}
