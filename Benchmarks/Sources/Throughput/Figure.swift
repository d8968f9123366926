import Foundation

/// Numbers as people read them.
enum Figure {
    static func rate(_ value: Double) -> String {
        switch value {
        case 1e6...: String(format: "%.2f M", value / 1e6)
        case 1e4...: String(format: "%.0f k", value / 1e3)
        case 1e3...: String(format: "%.1f k", value / 1e3)
        default: String(format: "%.0f", value)
        }
    }

    static func ratio(_ value: Double) -> String { String(format: "%.2f", value) }

    static func ratio(_ ratio: Comparison.Ratio?) -> String {
        guard let ratio else { return "" }
        return "\(self.ratio(ratio.value)) (\(self.ratio(ratio.least))–\(self.ratio(ratio.greatest)))"
    }

    static func microseconds(_ value: Double) -> String {
        String(format: value < 10 ? "%.2f" : "%.0f", value)
    }

    static func time(_ seconds: Double) -> String {
        switch seconds {
        case 1...: String(format: "%.2f s", seconds)
        case 1e-3...: String(format: "%.1f ms", seconds * 1e3)
        default: String(format: "%.0f µs", seconds * 1e6)
        }
    }

    static func mebibytes(_ bytes: Double) -> String { String(format: "%.0f", bytes / Double(1 << 20)) }

    static func count(_ value: Double?) -> String { value.map { String(format: "%.2f", $0) } ?? "" }

    /// "ours / theirs", where there is something.
    static func pair(_ comparison: Comparison, _ format: (Double) -> String, _ value: (Sample) -> Double?) -> String {
        guard let ours = comparison.library.compactMap(value).median,
            let theirs = comparison.bare.compactMap(value).median
        else { return "" }
        return "\(format(ours)) / \(format(theirs))"
    }
}

/// A row of the tables: the same figures in all of them.
struct Row {
    static let titles = [
        "scenario", "bytes", "headers", "messages/s", "ratio (spread)", "CPU µs", "ratio (spread)", "p50", "p99",
        "p99.9",
        "longest gap", "peak MiB", "allocations", "figure to reach",
    ]

    let columns: [String]

    init(_ comparison: Comparison) {
        let cell = comparison.cell
        func latency(_ value: (Percentiles) -> Double) -> String {
            Figure.pair(comparison, Figure.time) { $0.latency.map(value) }
        }
        var ratio = Figure.ratio(comparison.rate)
        if let ours = comparison.ofIdeal(comparison.library), let theirs = comparison.ofIdeal(comparison.bare) {
            ratio = "of ideal: \(Figure.ratio(ours)) / \(Figure.ratio(theirs.value))"
        }
        let allocations = [comparison.libraryAllocations, comparison.bareAllocations].map { Figure.count($0) }
        columns = [
            "\(cell.scenario) \(cell.title)", "\(cell.size)", "\(cell.headers)",
            comparison.hasRate ? Figure.pair(comparison, Figure.rate) { $0.rate } : "", ratio,
            cell.isBusy ? Figure.pair(comparison, Figure.microseconds) { $0.processor } : "",
            Figure.ratio(comparison.processor),
            latency(\.p50), latency(\.p99), latency(\.p999), Figure.pair(comparison, Figure.time) { $0.longestGap },
            Figure.pair(comparison, Figure.mebibytes) { Double($0.peakMemory) },
            allocations.contains("") ? "" : allocations.joined(separator: " / "),
            comparison.verdicts.map { "\($0.what) \($0.isReached ? "✓" : "✗")" }.joined(separator: ", "),
        ]
    }
}
