import Foundation

/// The charts of an ``ExperimentPage``, as SVG that takes its colours from the page.
struct ExperimentCharts {
    private static let width = 992.0
    private static let rowHeight = 34.0
    private static let labels = 200.0

    private let results: [ExperimentResult]

    init(_ results: [ExperimentResult]) {
        self.results = results
    }

    // MARK: Lost and duplicated

    /// What is lost to the left of a line, what is too much to the right. Empty where there are no results.
    var losses: String {
        guard !results.isEmpty else { return "" }
        let lost = results.map(\.tally.lost).max() ?? 0
        let duplicated = results.map(\.tally.duplicated).max() ?? 0
        // Both sides have one scale; the line is where the longer side leaves room for the shorter, and for their numbers.
        let room = Self.width - Self.labels - 2 * 80
        let total = Double(max(lost + duplicated, 1))
        let scale = room / total
        let middle = Self.labels + 80 + Double(lost) * scale
        let top = 26.0
        let height = top + Double(results.count) * Self.rowHeight + 6
        var body = Self.text(middle - 8, 14, "← lost", anchor: "end", kind: "soft")
        body += Self.text(middle + 8, 14, "duplicated →", anchor: "start", kind: "soft")
        for (index, result) in results.enumerated() {
            let y = top + Double(index) * Self.rowHeight
            body += Self.text(0, y + 21, result.mode.rawValue, anchor: "start")
            body += bar(result.tally.lost, from: middle, y: y, scale: -scale, kind: "lost")
            body += bar(result.tally.duplicated, from: middle, y: y, scale: scale, kind: "dup")
            if result.tally.lost == 0, result.tally.duplicated == 0 {
                body += Self.text(middle + 8, y + 21, "neither", anchor: "start", kind: "soft")
            }
        }
        body += Self.line(middle, top - 4, middle, height - 4)
        return Self.svg(height, "Lost and duplicated messages of each mode", body)
    }

    private func bar(_ number: Int, from middle: Double, y: Double, scale: Double, kind: String) -> String {
        guard number > 0 else { return "" }
        let length = max(abs(Double(number) * scale), 2)
        let isLeft = scale < 0
        let end = isLeft ? middle - length : middle + length
        return Self.rectangle(isLeft ? end : middle, y + 6, length, 22, kind)
            + Self.text(isLeft ? end - 8 : end + 8, y + 21, number.grouped, anchor: isLeft ? "end" : "start")
    }

    // MARK: Costs

    /// Two columns: messages a second, and how long a confirmation took.
    var costs: String {
        guard !results.isEmpty else { return "" }
        let column = (Self.width - Self.labels - 40) / 2
        let fastest = max(results.map(\.messagesPerSecond).max() ?? 1, 1)
        let axis = LatencyAxis(
            results.compactMap { $0.latencies[99] },
            from: Self.labels + column + 40,
            // What is left is for the numbers behind the slowest.
            width: column - 150
        )
        let top = 26.0
        let height = top + Double(results.count) * Self.rowHeight + 30
        var body = Self.text(Self.labels, 14, "messages a second", anchor: "start", kind: "soft")
        body += Self.text(Self.labels + column + 40, 14, "confirmation: p50 ● to p99", anchor: "start", kind: "soft")
        for tick in axis.ticks {
            body += Self.line(tick.x, top, tick.x, height - 26)
            body += Self.text(tick.x, height - 8, tick.label, anchor: "middle", kind: "soft")
        }
        for (index, result) in results.enumerated() {
            let y = top + Double(index) * Self.rowHeight
            body += Self.text(0, y + 21, result.mode.rawValue, anchor: "start")
            let length = max(result.messagesPerSecond / fastest * (column - 90), 2)
            body += Self.rectangle(Self.labels, y + 6, length, 22, "plain")
            body += Self.text(
                Self.labels + length + 8,
                y + 21,
                Int(result.messagesPerSecond).grouped,
                anchor: "start"
            )
            if let median = result.latencies[50], let slow = result.latencies[99] {
                let (from, to) = (axis.x(median), axis.x(slow))
                body += Self.line(from, y + 17, to, y + 17, kind: "range")
                body += "<circle class=\"plain\" cx=\"\(Self.number(from))\" cy=\"\(Self.number(y + 17))\" r=\"6\"/>"
                body += Self.text(to + 12, y + 21, "\(median.short) to \(slow.short)", anchor: "start")
            }
        }
        return Self.svg(height, "Messages a second and confirmation times of each mode", body)
    }

    // MARK: Elements

    private static func svg(_ height: Double, _ label: String, _ body: String) -> String {
        "<svg viewBox=\"0 0 \(number(width)) \(number(height))\" role=\"img\" aria-label=\"\(label)\">\(body)</svg>"
    }

    private static func text(_ x: Double, _ y: Double, _ text: String, anchor: String, kind: String = "") -> String {
        "<text class=\"\(kind)\" x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\">"
            + "\(ExperimentPage.escaped(text))</text>"
    }

    private static func rectangle(_ x: Double, _ y: Double, _ width: Double, _ height: Double, _ kind: String) -> String
    {
        "<rect class=\"\(kind)\" x=\"\(number(x))\" y=\"\(number(y))\" width=\"\(number(width))\" "
            + "height=\"\(number(height))\" rx=\"3\"/>"
    }

    private static func line(_ x: Double, _ y: Double, _ x2: Double, _ y2: Double, kind: String = "axis") -> String {
        "<line class=\"\(kind)\" x1=\"\(number(x))\" y1=\"\(number(y))\" x2=\"\(number(x2))\" y2=\"\(number(y2))\"/>"
    }

    private static func number(_ value: Double) -> String {
        value.rounded(digits: 1)
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
