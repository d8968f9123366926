/// How far a run has come that reads input, or has a number of things to do, and sees each of them confirmed.
package struct Progress: Equatable {
    package var bytesRead = 0
    /// nil where only the end of the input will tell.
    package var bytesInAll: Int?
    package var confirmed = 0
    package var failed = 0

    /// The status line, at most so many columns wide.
    package func line(after elapsed: Duration, rate: Double, columns: Int) -> String {
        var parts = ["\(confirmed.grouped) confirmed"]
        if failed > 0 { parts.append("\(failed.grouped) failed") }
        parts.append("\(Int(rate).grouped)/s")
        parts.append(Self.clock(elapsed))
        let text = parts.joined(separator: "  ")
        guard let bytesInAll, bytesInAll > 0 else { return String(text.prefix(max(columns - 1, 0))) }

        let fraction = min(Double(bytesRead) / Double(bytesInAll), 1)
        let percent = "\(Int(fraction * 100))%"
        let label = String(repeating: " ", count: 4 - percent.count) + percent
        // The bar takes what the figures leave, between 10 and 40 columns.
        let width = min(columns - text.count - label.count - 6, 40)
        guard width >= 10 else { return String("\(label)  \(text)".prefix(max(columns - 1, 0))) }
        let filled = Int(fraction * Double(width))
        let bar = String(repeating: "━", count: filled) + String(repeating: "╌", count: width - filled)
        return "\(label) \(bar)  \(text)"
    }

    private static func clock(_ elapsed: Duration) -> String {
        let seconds = Int(elapsed.inSeconds)
        let rest = seconds % 60
        return "\(seconds / 60):\(rest < 10 ? "0" : "")\(rest)"
    }
}
