import Foundation

/// A drawing with its words: a section of the page, or a file by itself.
struct Chart {
    /// What the file is called, without its extension.
    let name: String
    let title: String
    let explanation: String
    let height: Double
    let shapes: [String]

    static let width = 960.0

    /// The colours, light or dark as the reader's other windows are.
    static let style = """
        :root { color-scheme: light dark; --text: #1c1f24; --soft: #667; --line: #ccd; --bar: #3867d6; --other: #a5b1c2;
            --miss: #d1493f; --mark: #1c1f24; }
        @media (prefers-color-scheme: dark) { :root { --text: #e6e8ec; --soft: #99a; --line: #445; --bar: #6f9bff;
            --other: #778; --miss: #ff7b72; --mark: #e6e8ec; } }
        svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--text); }
        .soft { fill: var(--soft); } .bar { fill: var(--bar); } .other { fill: var(--other); } .miss { fill: var(--miss); }
        .line { stroke: var(--line); } .mark { stroke: var(--mark); stroke-width: 2; } .spread { stroke: var(--mark); }
        .ours { stroke: var(--bar); fill: none; stroke-width: 2; } .theirs { stroke: var(--other); fill: none; stroke-width: 2; }
        """

    var section: String {
        """
        <h2>\(PageReport.escape(title))</h2>
        <p>\(PageReport.escape(explanation))</p>
        \(drawing(attributes: ""))
        """
    }

    var file: String {
        drawing(attributes: "xmlns=\"http://www.w3.org/2000/svg\" ", style: "<style>\n\(Self.style)\n</style>\n") + "\n"
    }

    private func drawing(attributes: String, style: String = "") -> String {
        """
        <svg \(attributes)viewBox="0 0 \(Int(Self.width)) \(Int(height.rounded(.up)))" role="img" \
        aria-label="\(PageReport.escape(title))">
        \(style)\(shapes.joined(separator: "\n"))
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

    private static let (left, width, row) = (330.0, 560.0, 24.0)

    /// Nil where there is nothing to draw, as with the others.
    var chart: Chart? {
        guard !bars.isEmpty else { return nil }
        let greatest = max(1.2, bars.map { max($0.ratio.value, $0.target ?? 0) }.max() ?? 1)
        let height = Double(bars.count) * Self.row + 24
        func x(_ value: Double) -> String {
            String(format: "%.1f", Self.left + min(value, greatest) / greatest * Self.width)
        }
        let step = greatest > 4 ? (greatest / 4).rounded(.up) : greatest > 2 ? 1 : 0.5
        var shapes = stride(from: 0, through: greatest, by: step).map { tick in
            """
            <line class="line" x1="\(x(tick))" x2="\(x(tick))" y1="0" y2="\(height - 20)"/>\
            <text class="soft" x="\(x(tick))" y="\(height - 5)" text-anchor="middle">\(Figure.ratio(tick))</text>
            """
        }
        for (index, bar) in bars.enumerated() {
            let top = Double(index) * Self.row
            let middle = top + Self.row / 2
            let kind = bar.name.hasPrefix("…") ? "other" : bar.isReached ? "bar" : "miss"
            shapes.append(
                """
                <text x="\(Self.left - 10)" y="\(middle + 4)" text-anchor="end">\(PageReport.escape(bar.name))</text>\
                <rect class="\(kind)" x="\(Self.left)" y="\(top + 4)" height="\(Self.row - 8)" rx="2" \
                width="\(String(format: "%.1f", min(bar.ratio.value, greatest) / greatest * Self.width))"/>\
                <line class="spread" x1="\(x(bar.ratio.least))" x2="\(x(bar.ratio.greatest))" y1="\(middle)" y2="\(middle)"/>\
                <text x="\(Self.left + Self.width + 12)" y="\(middle + 4)">\(Figure.ratio(bar.ratio.value))</text>
                """
            )
            if let target = bar.target {
                shapes.append(
                    "<line class=\"mark\" x1=\"\(x(target))\" x2=\"\(x(target))\" y1=\"\(top + 2)\" y2=\"\(top + Self.row - 2)\"/>"
                )
            }
        }
        return Chart(name: name, title: title, explanation: explanation, height: height, shapes: shapes)
    }
}

/// p50, p99 and p99.9 of both sides, on a logarithmic scale.
struct LatencyChart {
    let comparisons: [Comparison]

    init(_ comparisons: [Comparison]) {
        self.comparisons = comparisons
    }

    private static let (left, width, row) = (330.0, 560.0, 34.0)

    var chart: Chart? {
        let values = comparisons.flatMap { comparison in
            (comparison.library + comparison.bare).compactMap(\.latency).flatMap { [$0.p50, $0.p999] }
        }
        guard let least = values.min(), let greatest = values.max(), least > 0 else { return nil }
        let low = log10(least).rounded(.down)
        let high = max(log10(greatest).rounded(.up), low + 1)
        func x(_ seconds: Double) -> Double {
            Self.left + (log10(max(seconds, pow(10, low))) - low) / (high - low) * Self.width
        }
        let height = Double(comparisons.count) * Self.row + 24
        var shapes = stride(from: low, through: high, by: 1).map { power in
            let at = x(pow(10, power))
            return """
                <line class="line" x1="\(at)" x2="\(at)" y1="0" y2="\(height - 20)"/>\
                <text class="soft" x="\(at)" y="\(height - 5)" text-anchor="middle">\(Figure.time(pow(10, power)))</text>
                """
        }
        for (index, comparison) in comparisons.enumerated() {
            let top = Double(index) * Self.row
            shapes.append(
                """
                <text x="\(Self.left - 10)" y="\(top + Self.row / 2 + 4)" text-anchor="end">\
                \(PageReport.escape(PageReport.name(comparison)))</text>
                """
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
        return Chart(
            name: "latency",
            title: "Latency",
            explanation: "p50, p99 and p99.9 of one message, from large dot to small; above the library, below the "
                + "bare loop.",
            height: height,
            shapes: shapes
        )
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
        let (left, width, height) = (60.0, 860.0, 180.0)
        let top = Double(greatest) * 1.15
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
        let isStandStill = if case .standStill = comparison.cell.shape { true } else { false }
        return Chart(
            name: isStandStill ? "memory-standing-still" : "memory-passing-through",
            title: comparison.cell.title,
            explanation: "Resident memory of the client's process in MiB, from beginning to end; in grey the bare "
                + "loop.",
            height: height + 10,
            shapes: shapes
        )
    }
}
