import Foundation

/// The table on standard output, a row as soon as it is measured.
@MainActor
final class TableReport {
    private var isBegun = false
    /// Those that do not fit on a line are on one below it.
    private static let widths = [42, 5, 7, 19, 34, 14, 18]
    private static let second = Array(7...13)

    func print(_ comparison: Comparison) {
        if !isBegun {
            isBegun = true
            line(Array(Row.titles.prefix(Self.widths.count)))
        }
        let row = Row(comparison).columns
        line(Array(row.prefix(Self.widths.count)))
        let more = Self.second.filter { !row[$0].isEmpty }.map { "\(Row.titles[$0]): \(row[$0])" }
        if !more.isEmpty { Swift.print("    " + more.joined(separator: " · ")) }
        fflush(nil)
    }

    func end(_ run: Run) {
        let missed = run.comparisons.flatMap { comparison in
            comparison.verdicts.filter { !$0.isReached }.map { "\(comparison.cell.name): \($0.what)" }
        }
        Swift.print("\nOn \(run.machine.sentence)")
        Swift.print("Each figure is library / bare loop; a ratio is that of the medians, with its spread over rounds.")
        if run.comparisons.allSatisfy({ $0.verdicts.isEmpty }) { return }
        if missed.isEmpty {
            Swift.print("Every figure was reached.")
        } else {
            Swift.print("Not reached:\n  " + missed.joined(separator: "\n  "))
        }
    }

    private func line(_ columns: [String]) {
        Swift.print(
            zip(columns, Self.widths).map { text, width in
                text + String(repeating: " ", count: max(0, width - text.count))
            }.joined(separator: " ")
        )
    }
}
