/// The transaction that some of a partition's deliveries are part of, of which there is one at most. A value without threads; the
/// reader keeps it under its lock.
struct PartitionTransaction {
    private var id: UInt64?
    /// Which run of offsets its deliveries belong to.
    private var run = 0

    /// Whether it has not ended.
    var isOpen: Bool { id != nil }

    /// Whether deliveries may become part of a transaction.
    func admits(_ transaction: UInt64) -> Bool { id == nil || id == transaction }

    /// A delivery became part of a transaction.
    mutating func join(_ transaction: UInt64, run current: Int) {
        guard id == nil else { return }
        id = transaction
        run = current
    }

    /// Whether its deliveries are of a run of offsets, and not from before the partition began again.
    func belongs(to current: Int) -> Bool { run == current }

    mutating func end() {
        id = nil
    }
}
