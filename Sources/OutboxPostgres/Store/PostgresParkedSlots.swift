/// Which slots have parked rows, as far as a session knows: there reading looks for keys that are held back, and for rows that a person
/// resumed. A value; the looks at the table and what is parked meanwhile are told in any order.
struct PostgresParkedSlots {
    /// A look at the table that has begun.
    struct Look {
        fileprivate let slots: Set<Int>
        fileprivate let parkings: Int
    }

    /// Where reading has to look for keys that are held back.
    private(set) var parked: Set<Int> = []
    /// Where a person decided about parked rows.
    private(set) var decided: Set<Int> = []
    /// Counts what was parked; and when that was in each slot.
    private var parkings = 0
    private var last: [Int: Int] = [:]

    /// To be called before the table is looked at.
    func begin(of slots: Set<Int>) -> Look {
        Look(slots: slots, parkings: parkings)
    }

    /// Rows of these slots were parked.
    mutating func notePark(_ slots: some Sequence<Int>) {
        parkings += 1
        for slot in slots {
            parked.insert(slot)
            last[slot] = parkings
        }
    }

    /// What a look found.
    ///
    /// Answers are taken in any order: this one says nothing of slots that it did not ask about, nor of those that something was parked in
    /// since. A slot that is looked at for nothing costs little; one that is not lets followers overtake.
    mutating func note(_ look: Look, parked found: Set<Int>, decided now: Set<Int>) {
        let gone = look.slots.subtracting(found).filter { last[$0, default: 0] <= look.parkings }
        parked = parked.union(found).subtracting(gone)
        decided = decided.subtracting(look.slots).union(now)
    }
}
