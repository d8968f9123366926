import Foundation
import ToolSupport

/// The charts of an ``ExperimentPage``, as SVG that takes its colours from the page.
///
/// Each is drawn twice, for a desk and for a phone, and the page shows the one that fits: a drawing that is made smaller makes its
/// words smaller too.
struct ExperimentCharts {
    private let results: [ExperimentResult]

    init(_ results: [ExperimentResult]) {
        self.results = results
    }

    // MARK: Lost and duplicated

    /// What is lost to the left of a line, what is too much to the right. Empty where there are no results.
    var losses: String {
        results.isEmpty ? "" : ChartLayout.all.map { losses($0) }.joined()
    }

    private func losses(_ layout: ChartLayout) -> String {
        let lost = results.map(\.tally.lost).max() ?? 0
        let duplicated = results.map(\.tally.duplicated).max() ?? 0
        // Both sides have one scale; the line is where the longer side leaves room for the shorter, and for their numbers.
        let number = layout.isNarrow ? 52.0 : 80.0
        let scale = (layout.width - layout.labels - 2 * number) / Double(max(lost + duplicated, 1))
        let middle = layout.labels + number + Double(lost) * scale
        let top = 26.0
        let bottom = top + Double(results.count) * layout.rowHeight
        var body = layout.text(middle - 8, 14, "← lost", anchor: "end", kind: "soft")
        body += layout.text(middle + 8, 14, "duplicated →", anchor: "start", kind: "soft")
        for tick in ChartScale.ticks(upTo: max(lost, duplicated), apart: (layout.isNarrow ? 64 : 90) / scale) {
            for (isThere, x) in [(tick <= lost, -1.0), (tick <= duplicated && tick > 0, 1)] where isThere {
                let at = middle + x * Double(tick) * scale
                body += layout.line(at, top, at, bottom)
                body += layout.text(at, bottom + 18, tick.grouped, anchor: "middle", kind: "soft")
            }
        }
        body += layout.line(middle, top - 4, middle, bottom, kind: "zero")
        for (index, result) in results.enumerated() {
            let y = layout.label(result.mode.rawValue, row: index, below: top, &body)
            body += bar(result.tally.lost, from: middle, y: y, scale: -scale, kind: "lost", layout)
            body += bar(result.tally.duplicated, from: middle, y: y, scale: scale, kind: "dup", layout)
            if result.tally.lost == 0, result.tally.duplicated == 0 {
                body += layout.text(middle + 8, y + 15, "neither", anchor: "start", kind: "soft")
            }
        }
        return layout.svg(bottom + 28, "Lost and duplicated messages of each mode", body)
    }

    private func bar(
        _ number: Int,
        from middle: Double,
        y: Double,
        scale: Double,
        kind: String,
        _ layout: ChartLayout
    ) -> String {
        guard number > 0 else { return "" }
        let length = max(abs(Double(number) * scale), 2)
        let isLeft = scale < 0
        let end = isLeft ? middle - length : middle + length
        return layout.rectangle(isLeft ? end : middle, y, length, kind)
            + layout.text(isLeft ? end - 8 : end + 8, y + 15, number.grouped, anchor: isLeft ? "end" : "start")
    }

    // MARK: Costs

    /// Messages a second, and how long a confirmation took: side by side where there is room.
    var costs: String {
        guard !results.isEmpty else { return "" }
        return ChartLayout.all.map { layout in
            var body = ""
            let height: Double
            if layout.isNarrow {
                let first = rates(layout, from: 0, width: layout.width - 60, top: 26, &body)
                height = latencies(layout, from: 8, width: layout.width - 24, top: first + 52, namesRows: true, &body)
            } else {
                let column = (layout.width - layout.labels - 40) / 2
                _ = rates(layout, from: layout.labels, width: column - 90, top: 26, &body)
                height = latencies(
                    layout,
                    from: layout.labels + column + 40,
                    // What is left is for the numbers behind the slowest.
                    width: column - 150,
                    top: 26,
                    namesRows: false,
                    &body
                )
            }
            return layout.svg(height, "Messages a second and confirmation times of each mode", body)
        }.joined()
    }

    /// Draws the bars, and returns where they end.
    private func rates(
        _ layout: ChartLayout,
        from left: Double,
        width: Double,
        top: Double,
        _ body: inout String
    ) -> Double {
        let fastest = max(results.map(\.messagesPerSecond).max() ?? 1, 1)
        body += layout.text(left, top - 12, "messages a second", anchor: "start", kind: "soft")
        for (index, result) in results.enumerated() {
            let y = layout.label(result.mode.rawValue, row: index, below: top, &body)
            let length = max(result.messagesPerSecond / fastest * width, 2)
            body += layout.rectangle(left, y, length, "plain")
            let number = Int(result.messagesPerSecond).grouped
            body += layout.text(left + length + 8, y + 15, number, anchor: "start")
        }
        return top + Double(results.count) * layout.rowHeight
    }

    /// Draws the ranges, and returns where all of it ends.
    private func latencies(
        _ layout: ChartLayout,
        from left: Double,
        width: Double,
        top: Double,
        namesRows: Bool,
        _ body: inout String
    ) -> Double {
        let axis = LatencyAxis(results.compactMap { $0.latencies[99] }, from: left, width: width)
        let shown = namesRows ? results.filter { $0.latencies[50] != nil } : results
        let bottom = top + Double(shown.count) * layout.rowHeight
        body += layout.text(
            left - (namesRows ? 8 : 0),
            top - 12,
            "confirmation: p50 ● to p99",
            anchor: "start",
            kind: "soft"
        )
        for tick in axis.ticks {
            body += layout.line(tick.x, top, tick.x, bottom)
            let anchor =
                namesRows && tick.x - left < 1 ? "start" : namesRows && tick.x > left + width - 1 ? "end" : "middle"
            body += layout.text(tick.x, bottom + 18, tick.label, anchor: anchor, kind: "soft")
        }
        for (index, result) in shown.enumerated() {
            guard let median = result.latencies[50], let slow = result.latencies[99] else { continue }
            var name = ""
            let y = layout.label(result.mode.rawValue, row: index, below: top, &name)
            let range = "\(median.short) to \(slow.short)"
            let (from, to) = (axis.x(median), axis.x(slow))
            body += layout.line(from, y + 11, to, y + 11, kind: "range") + layout.dot(from, y + 11)
            if namesRows {
                body += name + layout.text(layout.width, y - 6, range, anchor: "end")
            } else {
                body += layout.text(to + 12, y + 15, range, anchor: "start")
            }
        }
        return bottom + 28
    }
}

/// Where the numbers of a scale stand.
enum ChartScale {
    /// Round numbers from 0 on, none closer to the next than `distance`.
    static func ticks(upTo greatest: Int, apart distance: Double) -> [Int] {
        var step = 1
        // 1, 2, 5, 10, 20, 50, …
        var factors = [2, 5, 10]
        var decade = 1
        while Double(step) < distance {
            if factors.isEmpty {
                factors = [2, 5, 10]
                (decade, _) = decade.multipliedReportingOverflow(by: 10)
            }
            let (next, isTooMuch) = decade.multipliedReportingOverflow(by: factors.removeFirst())
            if isTooMuch { return [0] }
            step = next
        }
        return Array(stride(from: 0, through: greatest, by: step))
    }
}

/// Times from one millisecond, or less, up to the slowest, each ten times the one before.
private struct LatencyAxis {
    private let from: Double
    private let width: Double
    private let exponents: ClosedRange<Int>

    init(_ times: [Duration], from: Double, width: Double) {
        self.from = from
        self.width = width
        let slowest = times.map(\.inSeconds).max() ?? 0.01
        // From a tenth of a millisecond.
        var last = -3
        while last < 2, slowest > Self.power(last) { last += 1 }
        exponents = -4...last
    }

    var ticks: [(x: Double, label: String)] {
        exponents.map { exponent in
            let time = Self.power(exponent)
            let label =
                time < 0.001 ? "0.1 ms" : time < 1 ? "\(Int((time * 1000).rounded())) ms" : "\(Int(time.rounded())) s"
            return (x(.seconds(1) * time), label)
        }
    }

    func x(_ time: Duration) -> Double {
        let seconds = max(time.inSeconds, Self.power(exponents.lowerBound))
        let position = log10(seconds) - Double(exponents.lowerBound)
        return from + width * min(position / Double(exponents.count - 1), 1)
    }

    private static func power(_ exponent: Int) -> Double {
        (0..<abs(exponent)).reduce(1.0) { value, _ in exponent < 0 ? value / 10 : value * 10 }
    }
}
