/// The table for the documentation.
struct MarkdownReport {
    let text: String

    init(_ run: Run) {
        var lines = ["Each cell is *library / bare loop*. \(run.rounds) rounds; \(run.machine.sentence).", ""]
        let rows = run.comparisons.map { Row($0).columns }
        // Columns that nobody has anything in are left out.
        let used = Row.titles.indices.filter { index in rows.contains { !$0[index].isEmpty } }
        lines.append("| " + used.map { Row.titles[$0] }.joined(separator: " | ") + " |")
        lines.append("|" + String(repeating: "---|", count: used.count))
        for row in rows {
            lines.append("| " + used.map { row[$0] }.joined(separator: " | ") + " |")
        }
        lines.append("")
        lines.append("`\(run.machine.command)`")
        text = lines.joined(separator: "\n") + "\n"
    }
}
