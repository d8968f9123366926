import Foundation

/// A drawing with its words: a section of the page, or a file by itself.
struct Chart {
    /// What the file is called, without its extension.
    let name: String
    let title: String
    let explanation: String
    /// For a desk and for a phone. The page shows the one that fits: a drawing that is made smaller makes its words smaller too.
    let drawings: [Drawing]

    struct Drawing {
        let layout: Layout
        let height: Double
        let shapes: [String]
    }

    /// Where the names of rows stand, and where their figures are drawn. Its unit is a pixel, where the page is as wide as it was made
    /// for.
    struct Layout {
        let name: String
        let width: Double
        /// Where figures begin; 0 where names stand above them.
        let left: Double
        /// How wide the greatest figure is drawn.
        let span: Double
        let isNarrow: Bool

        static let all = [
            Layout(name: "wide", width: 960, left: 330, span: 560, isNarrow: false),
            Layout(name: "narrow", width: 342, left: 0, span: 286, isNarrow: true),
        ]

        /// How much a row takes for its name beside what its figure takes.
        var nameHeight: Double { isNarrow ? 18 : 0 }

        /// The name of a row that begins at `top` and whose figure is `height` high.
        func rowName(_ text: String, top: Double, height: Double) -> String {
            isNarrow
                ? "<text x=\"0\" y=\"\(top + 14)\">\(PageReport.escape(text))</text>"
                : "<text x=\"\(left - 10)\" y=\"\(top + height / 2 + 4)\" text-anchor=\"end\">\(PageReport.escape(text))</text>"
        }

        /// The number of a scale. Those at the ends are kept from being cut off.
        func scaleNumber(_ text: String, x: Double, y: Double) -> String {
            let anchor = x < 12 ? "start" : x > width - 12 ? "end" : "middle"
            return "<text class=\"soft\" x=\"\(x)\" y=\"\(y)\" text-anchor=\"\(anchor)\">\(text)</text>"
        }
    }

    /// The colours, light or dark as the reader's other windows are.
    static let style = """
        :root { color-scheme: light dark; --text: #1c1f24; --soft: #667; --line: #ccd; --bar: #3867d6; --other: #a5b1c2;
            --miss: #d1493f; --mark: #1c1f24; }
        @media (prefers-color-scheme: dark) { :root { --text: #e6e8ec; --soft: #99a; --line: #445; --bar: #6f9bff;
            --other: #778; --miss: #ff7b72; --mark: #e6e8ec; } }
        svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg.narrow { display: none; }
        @media (max-width: 860px) { svg.wide { display: none; } svg.narrow { display: block; max-width: 430px; } }
        svg text { fill: var(--text); }
        .soft { fill: var(--soft); } .bar { fill: var(--bar); } .other { fill: var(--other); } .miss { fill: var(--miss); }
        .line { stroke: var(--line); } .mark { stroke: var(--mark); stroke-width: 2; } .spread { stroke: var(--mark); }
        .ours { stroke: var(--bar); fill: none; stroke-width: 2; } .theirs { stroke: var(--other); fill: none; stroke-width: 2; }
        """

    var section: String {
        """
        <h2>\(PageReport.escape(title))</h2>
        <p>\(PageReport.escape(explanation))</p>
        \(drawings.map { drawing($0, attributes: "class=\"\($0.layout.name)\" ") }.joined(separator: "\n"))
        """
    }

    var file: String {
        drawing(
            drawings[0],
            attributes: "xmlns=\"http://www.w3.org/2000/svg\" ",
            style: "<style>\n\(Self.style)\n</style>\n"
        ) + "\n"
    }

    private func drawing(_ drawing: Drawing, attributes: String, style: String = "") -> String {
        """
        <svg \(attributes)viewBox="0 0 \(Int(drawing.layout.width)) \(Int(drawing.height.rounded(.up)))" role="img" \
        aria-label="\(PageReport.escape(title))">
        \(style)\(drawing.shapes.joined(separator: "\n"))
        </svg>
        """
    }
}

/// Horizontal bars around 1, with their spread and a mark at the figure to reach.
struct BarChart {
    struct Bar {
        let name: String
        let ratio: Comparison.Ratio
        let target: Double?
        let isReached: Bool

        init(_ name: String, _ ratio: Comparison.Ratio, target: Double?, isAtLeast: Bool) {
            self.name = name
            self.ratio = ratio
            self.target = target
            self.isReached = target.map { isAtLeast ? ratio.value >= $0 : ratio.value <= $0 } ?? true
        }
    }

    let name: String
    let title: String
    let explanation: String
    let bars: [Bar]

    private static let row = 24.0

    /// Nil where there is nothing to draw, as with the others.
    var chart: Chart? {
        guard !bars.isEmpty else { return nil }
        return Chart(name: name, title: title, explanation: explanation, drawings: Chart.Layout.all.map(drawing))
    }

    private func drawing(_ layout: Chart.Layout) -> Chart.Drawing {
        let greatest = max(1.2, bars.map { max($0.ratio.value, $0.target ?? 0) }.max() ?? 1)
        let row = Self.row + layout.nameHeight
        let height = Double(bars.count) * row + 24
        func x(_ value: Double) -> String { String(format: "%.1f", position(value)) }
        func position(_ value: Double) -> Double { layout.left + min(value, greatest) / greatest * layout.span }
        let step = greatest > 4 ? (greatest / 4).rounded(.up) : greatest > 2 ? 1 : 0.5
        var shapes = stride(from: 0, through: greatest, by: step).map { tick in
            "<line class=\"line\" x1=\"\(x(tick))\" x2=\"\(x(tick))\" y1=\"0\" y2=\"\(height - 20)\"/>"
                + layout.scaleNumber(Figure.ratio(tick), x: position(tick), y: height - 5)
        }
        for (index, bar) in bars.enumerated() {
            let rowTop = Double(index) * row
            let top = rowTop + layout.nameHeight
            let middle = top + Self.row / 2
            let kind = bar.name.hasPrefix("…") ? "other" : bar.isReached ? "bar" : "miss"
            shapes.append(
                """
                \(layout.rowName(bar.name, top: rowTop, height: Self.row))\
                <rect class="\(kind)" x="\(layout.left)" y="\(top + 4)" height="\(Self.row - 8)" rx="2" \
                width="\(String(format: "%.1f", min(bar.ratio.value, greatest) / greatest * layout.span))"/>\
                <line class="spread" x1="\(x(bar.ratio.least))" x2="\(x(bar.ratio.greatest))" y1="\(middle)" y2="\(middle)"/>\
                <text x="\(layout.left + layout.span + 12)" y="\(middle + 4)">\(Figure.ratio(bar.ratio.value))</text>
                """
            )
            if let target = bar.target {
                shapes.append(
                    "<line class=\"mark\" x1=\"\(x(target))\" x2=\"\(x(target))\" y1=\"\(top + 2)\" y2=\"\(top + Self.row - 2)\"/>"
                )
            }
        }
        return Chart.Drawing(layout: layout, height: height, shapes: shapes)
    }
}

/// p50, p99 and p99.9 of both sides, on a logarithmic scale.
struct LatencyChart {
    let comparisons: [Comparison]

    init(_ comparisons: [Comparison]) {
        self.comparisons = comparisons
    }

    private static let row = 34.0

    var chart: Chart? {
        let values = comparisons.flatMap { comparison in
            (comparison.library + comparison.bare).compactMap(\.latency).flatMap { [$0.p50, $0.p999] }
        }
        guard let least = values.min(), let greatest = values.max(), least > 0 else { return nil }
        let low = log10(least).rounded(.down)
        let high = max(log10(greatest).rounded(.up), low + 1)
        return Chart(
            name: "latency",
            title: "Latency",
            explanation: "p50, p99 and p99.9 of one message, from large dot to small; above the library, below the "
                + "bare loop.",
            drawings: Chart.Layout.all.map { drawing($0, from: low, to: high) }
        )
    }

    private func drawing(_ layout: Chart.Layout, from low: Double, to high: Double) -> Chart.Drawing {
        // The greatest has nothing beside it here, and the least a dot.
        let left = layout.isNarrow ? 6 : layout.left
        let span = layout.isNarrow ? layout.width - 12 : layout.span
        func x(_ seconds: Double) -> Double {
            left + (log10(max(seconds, pow(10, low))) - low) / (high - low) * span
        }
        let row = Self.row + layout.nameHeight
        let height = Double(comparisons.count) * row + 24
        var shapes = stride(from: low, through: high, by: 1).map { power in
            let at = x(pow(10, power))
            return "<line class=\"line\" x1=\"\(at)\" x2=\"\(at)\" y1=\"0\" y2=\"\(height - 20)\"/>"
                + layout.scaleNumber(Figure.time(pow(10, power)), x: at, y: height - 5)
        }
        for (index, comparison) in comparisons.enumerated() {
            let top = Double(index) * row + layout.nameHeight
            shapes.append(
                layout.rowName(PageReport.name(comparison), top: Double(index) * row, height: Self.row)
            )
            for (samples, kind, y) in [(comparison.library, "bar", top + 11), (comparison.bare, "other", top + 23)] {
                let all = samples.compactMap(\.latency)
                guard let p50 = all.map(\.p50).median, let p99 = all.map(\.p99).median,
                    let p999 = all.map(\.p999).median
                else { continue }
                shapes.append("<line class=\"line\" x1=\"\(x(p50))\" x2=\"\(x(p999))\" y1=\"\(y)\" y2=\"\(y)\"/>")
                for (value, radius) in [(p50, 5), (p99, 4), (p999, 3)] {
                    shapes.append("<circle class=\"\(kind)\" cx=\"\(x(value))\" cy=\"\(y)\" r=\"\(radius)\"/>")
                }
            }
        }
        return Chart.Drawing(layout: layout, height: height, shapes: shapes)
    }
}

/// Resident memory as a round goes on.
struct MemoryChart {
    let comparison: Comparison

    init(_ comparison: Comparison) {
        self.comparison = comparison
    }

    var chart: Chart? {
        let sides = [("ours", comparison.library.last?.memory ?? []), ("theirs", comparison.bare.last?.memory ?? [])]
        guard let greatest = sides.flatMap(\.1).max(), greatest > 0 else { return nil }
        let isStandStill = if case .standStill = comparison.cell.shape { true } else { false }
        return Chart(
            name: isStandStill ? "memory-standing-still" : "memory-passing-through",
            title: comparison.cell.title,
            explanation: "Resident memory of the client's process in MiB, from beginning to end; in grey the bare "
                + "loop.",
            drawings: Chart.Layout.all.map { drawing($0, sides, upTo: Double(greatest) * 1.15) }
        )
    }

    private func drawing(_ layout: Chart.Layout, _ sides: [(String, [Int])], upTo top: Double) -> Chart.Drawing {
        let (left, height) = (60.0, 180.0)
        let width = layout.width - left - (layout.isNarrow ? 4 : 40)
        var shapes = [0, 0.5, 1].map { part in
            let y = height - part * height
            return """
                <line class="line" x1="\(left)" x2="\(left + width)" y1="\(y)" y2="\(y)"/>\
                <text class="soft" x="\(left - 8)" y="\(max(y + 4, 12))" text-anchor="end">\(Figure.mebibytes(part * top))</text>
                """
        }
        for (kind, memory) in sides where memory.count > 1 {
            let points = memory.enumerated().map { index, bytes in
                let x = left + Double(index) / Double(memory.count - 1) * width
                return String(format: "%.1f,%.1f", x, height - Double(bytes) / top * height)
            }
            shapes.append("<polyline class=\"\(kind)\" points=\"\(points.joined(separator: " "))\"/>")
        }
        return Chart.Drawing(layout: layout, height: height + 10, shapes: shapes)
    }
}
