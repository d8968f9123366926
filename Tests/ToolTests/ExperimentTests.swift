import ArgumentParser
import Foundation
import Testing
import ToolSupport

@testable import kafka_delivery

struct ExperimentTallyTests {
    private func tally(_ answers: [ExperimentTally.Answer], _ stored: [Int]) -> ExperimentTally {
        ExperimentTally(
            answers: Dictionary(uniqueKeysWithValues: answers.enumerated().map { ($0, $1) }),
            stored: stored
        )
    }

    @Test func whatIsConfirmedAndNotStoredIsLost() {
        let tally = tally([.confirmed, .confirmed, .confirmed], [0, 2])
        #expect(tally.sent == 3)
        #expect(tally.confirmed == 3)
        #expect(tally.stored == 2)
        #expect(tally.lost == 1)
        #expect(tally.duplicated == 0)
    }

    @Test func whatFailedOrIsUnknownIsNotLost() {
        let tally = tally([.failed, .unknown, .unknown], [2])
        #expect(tally.failed == 1)
        #expect(tally.unknown == 2)
        #expect(tally.lost == 0)
        #expect(tally.wronglyFailed == 0)
    }

    @Test func eachCopyAfterTheFirstIsADuplicate() {
        let tally = tally([.confirmed, .confirmed], [0, 1, 0, 0, 1])
        #expect(tally.stored == 5)
        #expect(tally.duplicated == 3)
        // A copy that comes late is no message that was overtaken.
        #expect(tally.reordered == 0)
    }

    @Test func whatIsFoundAfterALaterOneIsReordered() {
        #expect(tally([.confirmed, .confirmed, .confirmed, .confirmed], [0, 3, 1, 2]).reordered == 2)
    }

    @Test func aWrongAnswerIsNoExcuseForAnyMode() {
        let failed = tally([.failed], [0])
        #expect(failed.wronglyFailed == 1)
        let strange = tally([.confirmed], [0, 7])
        #expect(strange.strange == 1)
        for mode in ExperimentMode.allCases {
            #expect(failed.broken(mode.promise) == ["1 message said to have failed and stored"])
            #expect(strange.broken(mode.promise) == ["1 message never sent"])
        }
    }

    @Test func eachModeIsMeasuredByWhatItPromises() {
        let lossy = tally([.confirmed, .confirmed], [1])
        let repeated = tally([.confirmed, .confirmed], [0, 1, 1])
        let reordered = tally([.confirmed, .confirmed], [1, 0])
        let whole = tally([.confirmed, .confirmed], [0, 1])
        for mode in ExperimentMode.allCases {
            #expect(lossy.broken(mode.promise).isEmpty == [.atMostOnce, .commitBefore].contains(mode))
            #expect(repeated.broken(mode.promise).isEmpty == [.atLeastOnce, .commitAfter].contains(mode))
            #expect(
                reordered.broken(mode.promise).isEmpty == ![.idempotent, .transactional, .transform].contains(mode)
            )
            #expect(whole.broken(mode.promise).isEmpty)
        }
    }
}

struct ExperimentReportTests {
    private func report() -> ExperimentReport {
        var report = ExperimentReport(isMock: true, profile: .flaky, seed: 5, messages: 100)
        let answers = Dictionary(uniqueKeysWithValues: (0..<100).map { ($0, ExperimentTally.Answer.confirmed) })
        report.outcomes = [
            .shown(
                ExperimentResult(
                    mode: .atMostOnce,
                    tally: ExperimentTally(answers: answers, stored: 0..<88),
                    elapsed: .seconds(2),
                    latencies: Percentiles([.milliseconds(4)])
                )
            ),
            .notShown(.transactional, reason: "it <cannot>"),
            .failed(.idempotent, reason: "no & such"),
        ]
        return report
    }

    @Test func theTableHasEveryModeAndSaysWhatIsNotShown() throws {
        let lines = ExperimentTable(report: report(), style: Style(isColoured: false)).lines
        let first = try #require(lines.first { $0.hasPrefix("at-most-once ") })
        let expected = "at-most-once 100 100 0 0 88 12 0 0 50 4.00 ms 4.00 ms"
        #expect(first.split(separator: " ").joined(separator: " ") == expected)
        #expect(lines.contains { $0.hasPrefix("transactional") && $0.hasSuffix("not shown: it <cannot>") })
        #expect(lines.contains { $0.hasPrefix("idempotent") && $0.hasSuffix("did not come to its end: no & such") })
        #expect(lines.last == "again: kafka-delivery experiment --profile flaky --messages 100 --seed 5")
    }

    @Test func theJSONHasTheSameFigures() throws {
        let text = try ExperimentJSON(report()).text()
        let object = try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        let modes = try #require(object["modes"] as? [[String: Any]])
        #expect(modes.map { $0["outcome"] as? String } == ["shown", "notShown", "failed"])
        #expect(modes[0]["lost"] as? Int == 12)
        #expect(modes[0]["messagesPerSecond"] as? Double == 50)
        #expect(modes[1]["lost"] == nil)
        #expect(object["seed"] as? String == "5")
    }

    @Test func thePageNeedsNothingElseAndKeepsTextApartFromMarkup() {
        let page = ExperimentPage(report: report()).html
        #expect(
            !page.contains("http:") && !page.contains("https:") && !page.contains("<script") && !page.contains("src=")
        )
        #expect(page.contains("it &lt;cannot&gt;") && page.contains("no &amp; such"))
        #expect(page.contains("<svg") && page.contains("prefers-color-scheme:dark"))
    }

    /// A drawing that is made smaller makes its words smaller too.
    @Test func eachChartIsThereForADeskAndForAPhone() {
        let page = ExperimentPage(report: report()).html
        #expect(page.components(separatedBy: "<svg class=\"wide\"").count == 3)
        #expect(page.components(separatedBy: "<svg class=\"narrow\" viewBox=\"0 0 342.0 ").count == 3)
        #expect(page.contains("@media (max-width:860px){svg.wide{display:none}svg.narrow{display:block}}"))
    }

    @Test func aChartOfLossesSaysWhatItsLengthsMean() {
        let page = ExperimentPage(report: report()).html
        // 12 are lost: the numbers of the scale go up to that, and the text says that there is one for each chart.
        #expect(page.contains(">10</text>") && page.contains(">12</text>"))
        #expect(page.contains("each chart has a scale of its own"))
        #expect(ChartScale.ticks(upTo: 12, apart: 1) == Array(0...12))
        #expect(ChartScale.ticks(upTo: 12, apart: 2.5) == [0, 5, 10])
        #expect(ChartScale.ticks(upTo: 2_735, apart: 600) == [0, 1_000, 2_000])
        #expect(ChartScale.ticks(upTo: 55, apart: 11) == [0, 20, 40])
        #expect(ChartScale.ticks(upTo: 0, apart: 100) == [0])
        #expect(ChartScale.ticks(upTo: .max, apart: .infinity) == [0])
    }

    @Test func onlyABrokenPromiseIsAComplaint() {
        #expect(report().outcomes.map { $0.complaint == nil } == [true, true, false])
    }
}

struct ExperimentToldTests {
    @Test func onlyTheTimeInWhichProcessesWorkIsCounted() {
        let start = ContinuousClock.now
        func at(_ seconds: Int) -> ContinuousClock.Instant { start.advanced(by: .seconds(seconds)) }
        var told = ExperimentTold(messages: 4, answer: .unknown)
        told.take(.begin, at: at(3))
        told.take(.committed(0...1, nanoseconds: 7), at: at(5))
        told.take(.faults(cuts: 2, losses: 1), at: at(6))
        told.endLife()
        // One that dies before its first message has not worked.
        told.endLife()
        told.take(.begin, at: at(20))
        told.take(.unknown(2...2), at: at(21))
        told.take(.faults(cuts: 1, losses: 0), at: at(22))
        told.take(.end, at: at(22))
        told.endLife()
        #expect(told.worked == .seconds(5))
        #expect(told.answers == [0: .confirmed, 1: .confirmed, 2: .unknown, 3: .unknown])
        #expect(told.latencies == [.nanoseconds(7)])
        #expect((told.cuts, told.losses) == (3, 1))
        #expect(told.hasEnded)
    }
}

struct ExperimentWorkerTests {
    @Test(
        arguments: [
            .begin, .handled(3), .acknowledged(nanoseconds: 5), .committed(0...49, nanoseconds: 12), .aborted,
            .unknown(5...5), .faults(cuts: 3, losses: 0), .end,
        ] as [ExperimentWorker.Line]
    )
    func aLineIsReadAsItWasWritten(line: ExperimentWorker.Line) {
        #expect(ExperimentWorker.Line(line.description) == line)
    }

    @Test(arguments: ["", "b 1", "h", "h x", "k", "c 1", "c 5 2 1", "u 3", "a 1", "f 1", "z"])
    func halfALineIsNone(text: String) {
        #expect(ExperimentWorker.Line(text) == nil)
    }

    @Test(arguments: [
        ["--modes", "sometimes"], ["--messages", "99"], ["--messages", "100001"], ["--profile", "odd"],
    ])
    func anExperimentThatCannotBeMeantIsRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try ExperimentCommand.parse(arguments) }
    }

    @Test func modesRunInTheirOwnOrder() throws {
        #expect(
            try ExperimentCommand.parse(["--modes", "idempotent, at-most-once"]).chosenModes() == [
                .atMostOnce, .idempotent,
            ]
        )
        #expect(try ExperimentCommand.parse([]).chosenModes() == ExperimentMode.allCases)
    }
}
