import ToolSupport

/// What can be read out of the earthquakes that came back.
struct DemoCharts {
    /// An earthquake and where its message is.
    struct Arrival {
        let earthquake: Earthquake
        let partition: Int
        let offset: Int64
    }

    private struct Bar: Equatable {
        let label: String
        let count: Int
    }

    private static let width = 32

    let arrivals: [Arrival]
    let style: Style

    /// A few lines; none where the events have no magnitudes, and so are no earthquakes.
    var lines: [String] {
        let measured = arrivals.filter { $0.earthquake.magnitude?.isFinite == true }
        guard let strongest = measured.max(by: { ($0.earthquake.magnitude ?? 0) < ($1.earthquake.magnitude ?? 0) })
        else { return [] }
        let magnitudes = byMagnitude(measured)
        let regions = byRegion(measured)
        // One scale for both, because both count the same earthquakes.
        let most = (magnitudes + regions).map(\.count).max() ?? 0
        var lines = chart("by magnitude", magnitudes, most: most) + [""]
        if !regions.isEmpty { lines += chart("by region", regions, most: most) + [""] }
        let magnitude = (strongest.earthquake.magnitude ?? 0).rounded(digits: 1)
        let what = [strongest.earthquake.place, strongest.earthquake.time.map { String($0.prefix(10)) }]
            .compactMap(\.self)
            .joined(separator: ", ")
        lines.append("  strongest  \(style.bold(magnitude))  \(what)")
        lines.append(style.dim("             partition \(strongest.partition), offset \(strongest.offset)"))
        return lines
    }

    private func byMagnitude(_ arrivals: [Arrival]) -> [Bar] {
        // Half magnitudes; what is beyond any earthquake goes to the outermost.
        let halves = arrivals.map { Int(min(max($0.earthquake.magnitude ?? 0, -2), 12) * 2 + 100) - 100 }
        guard let first = halves.min(), let last = halves.max() else { return [] }
        let counts = Dictionary(halves.map { ($0, 1) }, uniquingKeysWith: +)
        return (first...last).map { half in
            let from = Double(half) / 2
            return Bar(
                label: "\(from.rounded(digits: 1))–\((from + 0.4).rounded(digits: 1))",
                count: counts[half] ?? 0
            )
        }
    }

    /// The five with the most, and the rest together.
    private func byRegion(_ arrivals: [Arrival]) -> [Bar] {
        let counts = Dictionary(arrivals.compactMap { $0.earthquake.region }.map { ($0, 1) }, uniquingKeysWith: +)
        let sorted = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        let rest = sorted.dropFirst(5).reduce(0) { $0 + $1.value }
        let bars = sorted.prefix(5).map { Bar(label: String($0.key.prefix(24)), count: $0.value) }
        return rest > 0 ? bars + [Bar(label: "elsewhere", count: rest)] : bars
    }

    private func chart(_ title: String, _ bars: [Bar], most: Int) -> [String] {
        let labelWidth = bars.map(\.label.count).max() ?? 0
        return ["  \(style.dim(title))"]
            + bars.map { bar in
                // Something is shown where there is something.
                let length = most > 0 ? (bar.count * Self.width + most - 1) / most : 0
                let padding = String(repeating: " ", count: labelWidth - bar.label.count)
                let block = style.yellow(String(repeating: "▇", count: length))
                return "  \(bar.label)\(padding)  \(block)\(length > 0 ? " " : "")\(bar.count.grouped)"
            }
    }
}
