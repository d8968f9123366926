import ToolSupport

/// How a chart of an ``ExperimentPage`` is laid out, and the elements it is made of. Its unit is a pixel, where the page is as wide as
/// it was made for.
struct ChartLayout {
    /// The class by which the page shows one of them.
    let name: String
    let width: Double
    /// How wide the column is with the rows' names; 0 where they stand above their bars.
    let labels: Double
    let rowHeight: Double

    /// For what is narrower than a tablet; for anything else.
    static let all = [
        ChartLayout(name: "wide", width: 992, labels: 200, rowHeight: 34),
        ChartLayout(name: "narrow", width: 342, labels: 0, rowHeight: 56),
    ]

    var isNarrow: Bool { labels == 0 }

    /// Writes the name of a row, and returns where its bar, 22 high, begins.
    func label(_ text: String, row: Int, below top: Double, _ body: inout String) -> Double {
        let y = top + Double(row) * rowHeight
        body += self.text(0, isNarrow ? y + 18 : y + 21, text, anchor: "start")
        return isNarrow ? y + 24 : y + 6
    }

    func svg(_ height: Double, _ label: String, _ body: String) -> String {
        "<svg class=\"\(name)\" viewBox=\"0 0 \(Self.number(width)) \(Self.number(height))\" role=\"img\" "
            + "aria-label=\"\(label)\">\(body)</svg>"
    }

    func text(_ x: Double, _ y: Double, _ text: String, anchor: String, kind: String = "") -> String {
        "<text class=\"\(kind)\" x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" text-anchor=\"\(anchor)\">"
            + "\(ExperimentPage.escaped(text))</text>"
    }

    func rectangle(_ x: Double, _ y: Double, _ width: Double, _ kind: String) -> String {
        "<rect class=\"\(kind)\" x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" width=\"\(Self.number(width))\" "
            + "height=\"22\" rx=\"3\"/>"
    }

    func dot(_ x: Double, _ y: Double) -> String {
        "<circle class=\"plain\" cx=\"\(Self.number(x))\" cy=\"\(Self.number(y))\" r=\"6\"/>"
    }

    func line(_ x: Double, _ y: Double, _ x2: Double, _ y2: Double, kind: String = "axis") -> String {
        "<line class=\"\(kind)\" x1=\"\(Self.number(x))\" y1=\"\(Self.number(y))\" x2=\"\(Self.number(x2))\" "
            + "y2=\"\(Self.number(y2))\"/>"
    }

    private static func number(_ value: Double) -> String {
        value.rounded(digits: 1)
    }
}
