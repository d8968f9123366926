/// The number below which no row of a lane is left, or ever comes: where reading begins, so that it need not go through the dead
/// rows that vacuum cannot remove while a snapshot is held elsewhere.
///
/// First the last number that was drawn is noted, `m`; then who holds `RowExclusiveLock` on the table, which is every transaction that
/// may have drawn a number up to `m` and has not ended: `INSERT` takes the lock before it draws. When none of those is left, a row
/// with a number up to `m` is committed or will never be, and the smallest that is there is the new floor. Prepared
/// transactions hold their locks, too.
struct PostgresFloor {
    struct Lane: Hashable {
        let slot: Int
        /// Nil for rows of every destination.
        let destination: String?
    }

    private var floors: [Lane: Int64] = [:]
    private var candidate: (last: Int64, holders: Set<String>)?
    private var lastSeen: Int64 = 0

    /// Where a lane's reading begins: rows with larger numbers.
    func of(_ lane: Lane) -> Int64 {
        floors[lane] ?? .min
    }

    /// Which lanes have a floor above nothing.
    var lanes: [Lane] { floors.filter { $0.value > 0 }.map(\.key) }

    /// Notes the last number drawn and, read after it, who may have undecided rows.
    ///
    /// - Returns: A number up to which every row is decided, so that a read that begins now is complete; nil where some are not.
    mutating func observe(last: Int64, holders: Set<String>) -> Int64? {
        if last < lastSeen {
            // Restored, or restarted: numbers come again.
            floors = [:]
            candidate = nil
        }
        lastSeen = last
        let undecided = candidate.map { $0.holders.intersection(holders) } ?? holders
        let number = candidate?.last ?? last
        guard undecided.isEmpty else {
            candidate = (number, undecided)
            return nil
        }
        // The next round begins with what is known now.
        candidate = (last, holders)
        return number
    }

    /// A complete read of a lane found this row first, or none, after ``observe(last:holders:)`` returned `number`.
    mutating func complete(_ lane: Lane, first: Int64?, upTo number: Int64) {
        let floor = min(first.map { $0 == .min ? .min : $0 - 1 } ?? number, number)
        floors[lane] = max(floors[lane] ?? .min, floor)
    }

    /// The lane's rows are read from the beginning again.
    mutating func forget(slot: Int) {
        floors = floors.filter { $0.key.slot != slot }
    }
}
