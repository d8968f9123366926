#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// Where the numbers of batches begin that are stored exactly once, each time that a slot is taken over.
///
/// A batch counts as stored where the database's note and the destination have the same number, and its rows are deleted then. So a number
/// must belong to one batch only, also where the database has forgotten the earlier ones: tables that were made anew, or restored
/// from a backup, while the destination still has what it was told. Counting from the note on, or from 1, would come to old
/// numbers again. Each taking over begins instead at the wall clock's milliseconds, and a draw of 21 bits below them: later than everything that
/// began earlier, for a slot stores far fewer than 2,097,152 batches in a millisecond. Where the clock was put back, the draw makes two
/// beginnings differ.
enum PublisherBatchNumbers {
    private static let drawn: Int64 = 1 << 21
    /// In the year 2109, with room for counting behind it.
    private static let latest: Int64 = Int64.max / drawn - 1

    static func start(after last: Int64) -> Int64 {
        start(
            after: last,
            milliseconds: Date().timeIntervalSince1970 * 1_000,
            draw: Int64.random(in: 0..<drawn)
        )
    }

    /// - Parameters:
    ///   - last: The greatest number that the note and the destination know: the result is greater.
    ///   - milliseconds: The wall clock's, since 1970.
    ///   - draw: 0 to 2,097,151.
    static func start(after last: Int64, milliseconds: Double, draw: Int64) -> Int64 {
        let now = milliseconds > 0 ? Int64(min(milliseconds, Double(latest))) : 0
        let start = now * drawn + min(max(draw, 0), drawn - 1)
        guard start <= last else { return start }
        // The clock was put back since: not the numbers that come next, which the destination may have from before a restore.
        let (later, isOver) = last.addingReportingOverflow(1 + min(max(draw, 0), drawn - 1))
        return isOver ? .max : later
    }
}
