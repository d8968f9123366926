import Foundation

/// A page of one file, with charts and the table; it loads nothing from anywhere.
struct PageReport {
    let text: String

    init(_ run: Run) {
        text = Self.page(run, Self.charts(run).map(\.section).joined(separator: "\n"))
    }

    /// The page's charts, without those that a run has nothing for.
    static func charts(_ run: Run) -> [Chart] {
        let comparisons = run.comparisons
        let rates = BarChart(
            name: "rate",
            title: "Rate, by the bare loop's",
            explanation: "1 is as fast as librdkafka called from C. The line is the spread over rounds, the mark "
                + "the figure to reach.",
            bars: comparisons.compactMap { comparison in
                let target = comparison.cell.target.rate
                guard comparison.cell.work == 0, let rate = comparison.rate else { return nil }
                return BarChart.Bar(name(comparison), rate, target: target, isAtLeast: true)
            }
        )
        let processor = BarChart(
            name: "processor",
            title: "Processor time a message, by the bare loop's",
            explanation: "1 is what librdkafka takes by itself, its threads included; less is better.",
            bars: comparisons.compactMap { comparison in
                comparison.processor.map {
                    BarChart.Bar(name(comparison), $0, target: comparison.cell.target.processor, isAtLeast: false)
                }
            }
        )
        let work = BarChart(
            name: "work",
            title: "Work on each message: rate, by that of the same work without Kafka",
            explanation: "The second bar of a pair is the bare loop.",
            bars: comparisons.flatMap { comparison -> [BarChart.Bar] in
                guard let ours = comparison.ofIdeal(comparison.library),
                    let theirs = comparison.ofIdeal(comparison.bare)
                else { return [] }
                return [
                    BarChart.Bar(comparison.cell.title, ours, target: comparison.cell.target.ofIdeal, isAtLeast: true),
                    BarChart.Bar("… bare loop", theirs, target: nil, isAtLeast: true),
                ]
            }
        )
        let latencies = LatencyChart(comparisons.filter { $0.library.contains { $0.latency != nil } })
        let memory = comparisons.filter { $0.cell.scenario == 13 }.map { MemoryChart($0).chart }
        return ([rates.chart, processor.chart, work.chart, latencies.chart] + memory).compactMap(\.self)
    }

    /// A title with what tells it from others of the same title.
    static func name(_ comparison: Comparison) -> String {
        let cell = comparison.cell
        return "\(cell.title), \(cell.size) B" + (cell.headers > 0 ? ", \(cell.headers) headers" : "")
    }

    static func escape(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    }

    private static func page(_ run: Run, _ charts: String) -> String {
        let head = Row.titles.map { "<th>\(escape($0))</th>" }.joined()
        let rows = run.comparisons.map { comparison in
            "<tr>" + Row(comparison).columns.map { "<td>\(escape($0))</td>" }.joined() + "</tr>"
        }
        let failures = run.failures.map { "<p class=\"failure\">Not measured: \(escape($0))</p>" }
        return """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>KafkaDelivery and librdkafka</title>
            <style>
            \(Chart.style)
            body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); max-width: 980px; margin: 2rem auto;
                padding: 0 1rem; }
            h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 0; } p { color: var(--soft); margin: .2rem 0 .8rem; }
            .table { overflow-x: auto; } table { border-collapse: collapse; font-size: 12px; white-space: nowrap; }
            th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
            code { font-size: .9em; } .failure { color: var(--miss); }
            </style>
            </head>
            <body>
            <h1>KafkaDelivery and librdkafka</h1>
            <p>\(run.rounds) rounds of each, in turn, after one to warm up. \(escape(run.machine.sentence)).</p>
            <p><code>\(escape(run.machine.command))</code></p>
            \(failures.joined(separator: "\n"))
            \(charts)
            <h2>All figures</h2>
            <p>Each is <i>library / bare loop</i>: medians. CPU is user and system time of the client's process.
            Allocations are those of librdkafka too.</p>
            <div class="table"><table><thead><tr>\(head)</tr></thead><tbody>
            \(rows.joined(separator: "\n"))
            </tbody></table></div>
            </body>
            </html>

            """
    }
}
