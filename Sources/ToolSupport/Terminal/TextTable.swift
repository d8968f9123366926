/// Rows in columns for a terminal: each as wide as it needs to be, and where the terminal is too narrow, the least important
/// left out, and the last cut.
package struct TextTable {
    /// A column, and what becomes of it where there is little room.
    package struct Column {
        package let title: String
        package let isRightAligned: Bool
        /// Left out before the last column gets too narrow: the lowest number first; nil for a column that stays.
        package let expendability: Int?

        package init(_ title: String, isRightAligned: Bool = false, expendability: Int? = nil) {
            self.title = title
            self.isRightAligned = isRightAligned
            self.expendability = expendability
        }
    }

    /// A last column that is narrower than this is worse than one column less before it.
    private static let leastLast = 24

    private let columns: [Column]
    private let widths: [Int]
    /// The columns that are shown, by their index.
    private let shown: [Int]
    private let terminalColumns: Int?

    /// - Parameters:
    ///   - columns: From left to right; the last takes what the others leave.
    ///   - rows: What the widths are made for, a cell for each column; others may follow, and are as wide as they are.
    ///   - terminalColumns: How wide the terminal is; nil where nothing has to be cut.
    package init(columns: [Column], rows: [[String]], terminalColumns: Int?) {
        self.columns = columns
        self.terminalColumns = terminalColumns
        let widths = columns.indices.map { column in
            rows.reduce(columns[column].title.count) { max($0, column < $1.count ? $1[column].count : 0) }
        }
        self.widths = widths
        var shown = Array(columns.indices)
        let expendable = columns.indices.dropLast().filter { columns[$0].expendability != nil }
            .sorted { (columns[$0].expendability ?? 0) < (columns[$1].expendability ?? 0) }
        for column in expendable {
            let width = shown.dropLast().reduce(0) { $0 + widths[$1] + 2 }
            guard let terminalColumns, terminalColumns - width < Self.leastLast else { break }
            shown.removeAll { $0 == column }
        }
        self.shown = shown
    }

    /// The titles.
    package var heading: String { line(columns.map(\.title)) }

    /// A row, without a line break.
    package func line(_ cells: [String]) -> String {
        let text = shown.map { column in
            let cell = column < cells.count ? cells[column] : ""
            let padding = String(repeating: " ", count: max(widths[column] - cell.count, 0))
            if columns[column].isRightAligned { return padding + cell }
            // Nothing is written behind what ends the line.
            return column == shown.last ? cell : cell + padding
        }.joined(separator: "  ")
        guard let terminalColumns, text.count > terminalColumns else { return text }
        return String(text.prefix(max(terminalColumns - 1, 0))) + "…"
    }
}
