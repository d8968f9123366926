import ToolSupport

/// An experiment as a page for a person: one file of HTML, with its charts in it, that loads nothing.
struct ExperimentPage {
    let report: ExperimentReport

    var html: String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>Delivery experiment: \(report.profile.rawValue), seed \(report.seed)</title>
        <style>\(Self.style)</style>
        </head>
        <body>
        <main>
        <h1>What became of \(report.messages.grouped) messages</h1>
        <p class="lead">\(lead)</p>
        \(cards("Sending", report.outcomes.filter { !$0.mode.isReceiving }))
        \(cards("Receiving", report.outcomes.filter(\.mode.isReceiving)))
        \(section("Lost and duplicated", Self.lossText, losses))
        \(section("What it costs", Self.costText, ExperimentCharts(report.results).costs))
        <section><h2>All figures</h2>\(table)\(Self.glossary)</section>
        <footer><p>See it again:</p><pre>\(Self.escaped(report.command))</pre></footer>
        </main>
        </body>
        </html>

        """
    }

    private var lead: String {
        let cluster = report.isMock ? "a mock cluster that checks sequence numbers" : "a Kafka cluster"
        return """
            Each mode was given the same \(report.messages.grouped) numbered messages, on \(cluster), through the same network: \
            <b>\(report.profile.rawValue)</b>, where \(report.profile.explanation). Where a mode is about a process, that was \
            killed in the middle and started again. Then a reader that sees none of the faults counted what is there.
            """
    }

    private func cards(_ title: String, _ outcomes: [ExperimentOutcome]) -> String {
        outcomes.isEmpty
            ? "" : "<h2 class=\"row\">\(title)</h2><div class=\"cards\">\(outcomes.map(card).joined())</div>"
    }

    /// One for what faults of the network do, and one for what kills do: their numbers have nothing to do with each other.
    private var losses: String {
        [("Sending", false), ("Receiving", true)].map { title, isReceiving in
            let chart = ExperimentCharts(report.results.filter { $0.mode.isReceiving == isReceiving }).losses
            return chart.isEmpty ? "" : "<h3 class=\"chart\">\(title)</h3>\(chart)"
        }.joined()
    }

    private static let lossText = """
        To the left: messages that are gone although their sender was told that they are stored, or, where it is about \
        receiving, that were never handled. To the right: copies that should not be there. What the network does to sending and \
        what kills do to receiving differ by far, so each chart has a scale of its own: the messages under it.
        """

    private static let costText = """
        Messages a second while the faults went on, without the time in which a process that was killed started and joined \
        again. And how long a confirmation took: the dot is the median, the line reaches to what one in a hundred \
        exceeds. In transactional it is that of a transaction of \(Experiment.batchCount), in commit-… that of a commit of \
        offsets; a transformation does not say.
        """

    private static let glossary = """
        <p class="small"><b>Confirmed</b>: the sender was told that the message is stored; in at-most-once, that it was written \
        to the network. <b>Failed</b>: told that it is not stored. <b>Unknown</b>: told that it may be. <b>Stored</b>: found by \
        the reader, copies included. <b>Lost</b>: confirmed and not stored. <b>Reordered</b>: found after a later one. In the \
        receiving modes <b>sent</b> is what there was to handle, <b>stored</b> how often something was handled, or what of it \
        the reader found, and <b>lost</b> what never was.</p>
        """

    private func section(_ title: String, _ text: String, _ chart: String) -> String {
        chart.isEmpty ? "" : "<section><h2>\(title)</h2><p>\(text)</p>\(chart)</section>"
    }

    static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}

// MARK: Cards and table

extension ExperimentPage {
    private func card(_ outcome: ExperimentOutcome) -> String {
        let name = outcome.mode.rawValue
        switch outcome {
        case .shown(let result):
            let tally = result.tally
            let (kind, conclusion) = Self.conclusion(result)
            return """
                <article class="card \(kind)"><h3>\(name)</h3><p class="conclusion">\(conclusion)</p>
                <dl><div><dt>lost</dt><dd class="\(tally.lost > 0 ? "lost" : "none")">\(tally.lost.grouped)</dd></div>\
                <div><dt>duplicated</dt><dd class="\(tally.duplicated > 0 ? "dup" : "none")">\(tally.duplicated.grouped)</dd></div>\
                </dl><p class="small">\(Self.escaped(outcome.mode.explanation)) \(result.circumstances.capitalizedFirst).</p>\
                </article>
                """
        case .notShown(_, let reason):
            return """
                <article class="card muted"><h3>\(name)</h3><p class="conclusion">Not shown</p>
                <p class="small">\(Self.escaped(outcome.mode.explanation)) It needs a real cluster, because \
                \(Self.escaped(reason)): run this with <code>--bootstrap-servers</code>.</p></article>
                """
        case .failed(_, let reason):
            return """
                <article class="card bad"><h3>\(name)</h3><p class="conclusion">Did not come to its end</p>
                <p class="small">\(Self.escaped(reason)).</p></article>
                """
        }
    }

    private static func conclusion(_ result: ExperimentResult) -> (kind: String, text: String) {
        let tally = result.tally
        if !result.broken.isEmpty { return ("bad", "Broke its promise") }
        if tally.lost > 0 { return ("lossy", "Loses") }
        if tally.duplicated > 0 { return ("copies", "Repeats") }
        let isExact = !result.mode.promise.mayLose && !result.mode.promise.mayRepeat
        return ("good", isExact ? "Exactly once" : "Nothing went wrong this time")
    }

    private var table: String {
        let titles = [
            "mode", "sent", "confirmed", "failed", "unknown", "stored", "lost", "duplicated", "reordered", "messages/s",
            "p50", "p99",
        ]
        let rows = report.results.map { result in
            let tally = result.tally
            let hasAnswers = !result.mode.isReceiving
            var cells = [tally.sent.grouped]
            cells += [tally.confirmed, tally.failed, tally.unknown].map { hasAnswers ? $0.grouped : "–" }
            cells += [tally.stored, tally.lost, tally.duplicated, tally.reordered].map(\.grouped)
            cells.append(Int(result.messagesPerSecond).grouped)
            cells += [50, 99].map { result.latencies[$0]?.short ?? "–" }
            return "<tr><th scope=\"row\">\(result.mode.rawValue)</th>\(cells.map { "<td>\($0)</td>" }.joined())</tr>"
        }
        return """
            <div class="scroll"><table><thead><tr>\(titles.map { "<th scope=\"col\">\($0)</th>" }.joined())</tr></thead>
            <tbody>\(rows.joined(separator: "\n"))</tbody></table></div>
            """
    }
}

extension ExperimentPage {
    fileprivate static let style = """
        :root{color-scheme:light dark;--ground:#fbfaf8;--card:#fff;--ink:#1d1c1a;--soft:#64605a;--line:#dedad3;--lost:#b3261e;\
        --dup:#a35c00;--good:#1f7a4d;--plain:#3f6f9f;--track:#eeebe5}
        @media (prefers-color-scheme:dark){:root{--ground:#161513;--card:#201f1c;--ink:#ece9e3;--soft:#a39e95;--line:#3a3732;\
        --lost:#ff8a80;--dup:#f0b35a;--good:#6fcf97;--plain:#8ab8e6;--track:#2a2825}}
        *{box-sizing:border-box}
        body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
        main{max-width:1040px;margin:0 auto;padding:40px 24px 64px}
        h1{font-size:32px;line-height:1.2;margin:0 0 12px;letter-spacing:-.01em}
        h2{font-size:20px;margin:0 0 4px}
        h3{font-size:15px;margin:0;font-weight:600}
        p{margin:0 0 12px;max-width:72ch}
        .lead{font-size:18px;color:var(--soft)}
        .lead b{color:var(--ink)}
        .small{font-size:13px;color:var(--soft);margin:0}
        section{margin-top:44px}
        h2.row{margin-top:28px}
        .cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(225px,1fr));gap:14px;margin-top:10px}
        .card{background:var(--card);border:1px solid var(--line);border-top:4px solid var(--line);border-radius:8px;\
        padding:16px}
        .card.good{border-top-color:var(--good)}.card.lossy,.card.bad{border-top-color:var(--lost)}
        .card.copies{border-top-color:var(--dup)}.card.muted{opacity:.8}
        .conclusion{font-size:22px;font-weight:650;margin:2px 0 8px;line-height:1.2}
        .good .conclusion{color:var(--good)}.lossy .conclusion,.bad .conclusion{color:var(--lost)}
        .copies .conclusion{color:var(--dup)}.muted .conclusion{color:var(--soft)}
        dl{display:flex;gap:28px;margin:0 0 10px}
        dt{font-size:13px;color:var(--soft)}
        dd{margin:0;font-size:24px;font-weight:600;font-variant-numeric:tabular-nums;line-height:1.2}
        dd.lost{color:var(--lost)}dd.dup{color:var(--dup)}dd.none{color:var(--soft);font-weight:400}
        h3.chart{margin-top:22px}
        svg{display:block;width:100%;height:auto;margin-top:12px;font:13px system-ui,-apple-system,"Segoe UI",sans-serif}
        svg.narrow{display:none;max-width:430px}
        @media (max-width:860px){svg.wide{display:none}svg.narrow{display:block}}
        svg text{fill:var(--ink);paint-order:stroke;stroke:var(--ground);stroke-width:4px;stroke-linejoin:round}svg .soft{fill:var(--soft)}svg .axis{stroke:var(--line);stroke-width:1}
        svg .zero{stroke:var(--soft);stroke-width:1}
        svg .lost{fill:var(--lost)}svg .dup{fill:var(--dup)}svg .plain{fill:var(--plain)}svg .track{fill:var(--track)}
        svg .range{stroke:var(--plain);stroke-width:3;stroke-linecap:round}
        .scroll{overflow-x:auto}
        table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums;margin:8px 0 12px}
        th,td{padding:6px 7px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
        thead th{color:var(--soft);font-weight:500}
        th:first-child{text-align:left;font-weight:500;padding-left:0}
        pre,code{font:13px ui-monospace,Menlo,Consolas,monospace}
        pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:12px;overflow-x:auto;margin:0}
        footer{margin-top:40px;color:var(--soft)}
        """
}

extension String {
    fileprivate var capitalizedFirst: String {
        prefix(1).uppercased() + dropFirst()
    }
}
