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
        let hasAnswers = !result.mode.isConsuming
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
        notes += report.outcomes.compactMap { outcome in
            if case .notShown(let mode, let reason) = outcome {
                "\(mode.rawValue): needs a real cluster (--bootstrap-servers), because \(reason)"
            } else {
                nil
            }
        }
        notes.append("lost: confirmed, and not stored; at-most-once calls confirmed what was written to the network")
        if report.results.contains(where: \.mode.isConsuming) {
            notes.append("commit-…: stored counts how often a message was handled, and lost those that never were")
        }
        notes.append("again: \(report.command)")
        return notes.map { style.dim($0) }
    }
}

extension ExperimentMode {
    /// Whether it is about what a consumer does, and nothing is confirmed.
    var isConsuming: Bool { self == .commitBefore || self == .commitAfter }
}
