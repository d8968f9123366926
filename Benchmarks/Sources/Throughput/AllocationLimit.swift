import AllocationCount

/// How many blocks of memory a message may cost, over what librdkafka itself asks for in the bare loop.
///
/// Counted by an own malloc and not by the ecosystem's benchmark package: its interposer needs a newer toolchain than
/// this package does, and without it the counts are 0.
enum AllocationLimit {
    static func of(_ cell: Cell) -> Double? {
        switch cell.shape {
        // Of ten thousand tasks most are made for a few sends each, and making them is not the library's doing.
        case .send(let tasks) where tasks > 1_000: nil
        case .send, .enqueue, .batches: 3
        case .receive(.deliveries) where cell.work == 0: 1
        case .receive(.mainActor), .receive(.perPartition): 1
        default: nil
        }
    }

    /// Prints what was counted.
    ///
    /// - Returns: What is over its limit.
    static func check(_ run: Run) -> [Cell] {
        guard allocation_count_is_possible() else {
            print("Allocations: not measured on this platform.")
            return []
        }
        return run.comparisons.filter { comparison in
            guard let limit = of(comparison.cell), let ours = comparison.libraryAllocations,
                let bare = comparison.bareAllocations
            else { return false }
            let own = ours - bare
            let isOver = own > limit + tolerance
            print(
                isOver ? "TOO MANY" : "ok      ",
                "\(comparison.cell.name): \(Figure.count(own)) of its own a message,",
                "at most \(Figure.ratio(limit)) and \(Figure.ratio(tolerance)) for what happens now and then",
                "(\(Figure.count(ours)) in all, the bare loop \(Figure.count(bare)))"
            )
            return isOver
        }
        .map(\.cell)
    }

    /// An array that grows, a fetch that brings more than was counted.
    private static let tolerance = 0.25
}
