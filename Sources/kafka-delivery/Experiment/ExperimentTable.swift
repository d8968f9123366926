import ToolSupport

/// An experiment's figures for a terminal.
struct ExperimentTable {
    let report: ExperimentReport
    let style: Style

    private static let titles = [
        "mode", "sent", "confirmed", "failed", "unknown", "stored", "lost", "duplicated", "reordered", "msg/s", "p50",
        "p99",
    ]

    /// The table, and below it what has to be said about it.
    var lines: [String] {
        let rows = report.outcomes.map(cells)
        let widths = Self.titles.indices.map { column in
            ([Self.titles[column]] + rows.compactMap { $0.count > 1 ? $0[column] : nil }).map(\.count).max() ?? 0
        }
        // The first column also holds the names of modes without figures.
        let first = max(widths[0], rows.map { $0[0].count }.max() ?? 0)
        var lines = [style.dim(line(Self.titles, widths, first))]
        for (outcome, cells) in zip(report.outcomes, rows) {
            if cells.count > 1 {
                lines.append(coloured(line(cells, widths, first), outcome))
            } else {
                lines.append("\(pad(cells[0], first))  \(style.dim(reason(outcome)))")
            }
        }
        return lines + [""] + notes
    }

    private func cells(_ outcome: ExperimentOutcome) -> [String] {
        guard case .shown(let result) = outcome else { return [outcome.mode.rawValue] }
        let tally = result.tally
        let hasAnswers = !result.mode.isReceiving
        let answers = [tally.confirmed, tally.failed, tally.unknown].map { hasAnswers ? $0.grouped : "–" }
        let latencies = [50, 99].map { result.latencies[$0]?.short ?? "–" }
        return [result.mode.rawValue, tally.sent.grouped] + answers
            + [tally.stored, tally.lost, tally.duplicated, tally.reordered].map(\.grouped)
            + [Int(result.messagesPerSecond).grouped] + latencies
    }

    private func reason(_ outcome: ExperimentOutcome) -> String {
        switch outcome {
        case .shown: ""
        case .notShown(_, let reason): "not shown: \(reason)"
        case .failed(_, let reason): "did not come to its end: \(reason)"
        }
    }

    private func line(_ cells: [String], _ widths: [Int], _ first: Int) -> String {
        pad(cells[0], first)
            + zip(cells, widths).dropFirst().map { cell, width in
                "  " + String(repeating: " ", count: max(width - cell.count, 0)) + cell
            }.joined()
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(width - text.count, 0))
    }

    /// Red where a promise is broken; yellow where something went wrong that the mode does not promise against.
    private func coloured(_ line: String, _ outcome: ExperimentOutcome) -> String {
        guard case .shown(let result) = outcome else { return line }
        if !result.broken.isEmpty { return style.red(line) }
        return result.tally.lost + result.tally.duplicated > 0 ? style.yellow(line) : style.green(line)
    }

    private var notes: [String] {
        var notes = report.results.map { "\($0.mode.rawValue): \($0.circumstances)" }
        let missing = report.outcomes.compactMap { outcome in
            if case .notShown(let mode, _) = outcome { mode.rawValue } else { nil }
        }
        if !missing.isEmpty {
            notes.append("\(missing.joined(separator: ", ")): a real cluster shows them, --bootstrap-servers HOST:PORT")
        }
        notes.append("lost: confirmed, and not stored; at-most-once calls confirmed what was written to the network")
        if report.results.contains(where: { $0.mode.isReceiving }) {
            notes.append(
                "receiving: sent counts what there was to handle, stored what was handled or written, lost what never was"
            )
        }
        if report.results.contains(where: { $0.mode.isKilled }) {
            notes.append("msg/s: of the time in which messages went through, without starting and joining again")
            notes.append("p50, p99: of a transaction until it is committed; commit-…: of a commit of offsets")
        }
        notes.append("again: \(report.command)")
        return notes.map { style.dim($0) }
    }
}
