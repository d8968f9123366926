import Foundation
import ToolSupport

/// An experiment's figures for programs.
struct ExperimentJSON: Encodable {
    struct Mode: Encodable {
        let mode: String
        /// `shown`, `notShown` or `failed`.
        let outcome: String
        var reason: String?
        /// What is broken that the mode promises; empty where all was kept.
        var broken: [String]?
        var sent: Int?
        /// Nil where nothing is confirmed.
        var confirmed: Int?
        var failed: Int?
        var unknown: Int?
        var stored: Int?
        var lost: Int?
        var duplicated: Int?
        var reordered: Int?
        /// Said to have failed, and stored all the same.
        var wronglyFailed: Int?
        var seconds: Double?
        var messagesPerSecond: Double?
        var latencyMillisecondsP50: Double?
        var latencyMillisecondsP99: Double?
        var connectionsCut: Int?
        var confirmationsLost: Int?
        var kills: Int?
        var transactionsAborted: Int?
        var messagesTransformedAgain: Int?
    }

    let cluster: String
    let profile: String
    /// As text: not every reader's numbers have 64 bits.
    let seed: String
    let messages: Int
    let modes: [Mode]

    init(_ report: ExperimentReport) {
        cluster = report.isMock ? "mock" : "real"
        profile = report.profile.rawValue
        seed = String(report.seed)
        messages = report.messages
        modes = report.outcomes.map { outcome in
            switch outcome {
            case .shown(let result): Self.mode(result)
            case .notShown(let mode, let reason): Mode(mode: mode.rawValue, outcome: "notShown", reason: reason)
            case .failed(let mode, let reason): Mode(mode: mode.rawValue, outcome: "failed", reason: reason)
            }
        }
    }

    private static func mode(_ result: ExperimentResult) -> Mode {
        let tally = result.tally
        let hasAnswers = !result.mode.isReceiving
        return Mode(
            mode: result.mode.rawValue,
            outcome: "shown",
            broken: result.broken,
            sent: tally.sent,
            confirmed: hasAnswers ? tally.confirmed : nil,
            failed: hasAnswers ? tally.failed : nil,
            unknown: hasAnswers ? tally.unknown : nil,
            stored: tally.stored,
            lost: tally.lost,
            duplicated: tally.duplicated,
            reordered: tally.reordered,
            wronglyFailed: tally.wronglyFailed,
            seconds: result.elapsed.inSeconds,
            messagesPerSecond: result.messagesPerSecond,
            latencyMillisecondsP50: result.latencies[50].map { $0.inSeconds * 1_000 },
            latencyMillisecondsP99: result.latencies[99].map { $0.inSeconds * 1_000 },
            connectionsCut: result.cuts,
            confirmationsLost: result.lostConfirmations,
            kills: result.kills,
            transactionsAborted: result.aborted,
            messagesTransformedAgain: result.repeated
        )
    }

    func text() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }
}
