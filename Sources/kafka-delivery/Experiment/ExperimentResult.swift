import ToolSupport

/// What one mode came to.
struct ExperimentResult: Sendable {
    let mode: ExperimentMode
    let tally: ExperimentTally
    /// How long it worked; where processes were killed, without the time in which they started and joined.
    let elapsed: Duration
    /// From a send to its confirmation; of a transaction, from its beginning to the end of its commit; of a consumer that
    /// commits offsets, how long a commit took. None where nothing is waited for.
    let latencies: Percentiles
    /// How often the relay cut a connection, and lost confirmations.
    var cuts = 0
    var lostConfirmations = 0
    /// How often a process was killed.
    var kills = 0
    /// Transactions that were aborted, on purpose or by a fault.
    var aborted = 0
    /// How often a message was transformed again.
    var repeated = 0

    var messagesPerSecond: Double {
        elapsed > .zero ? Double(tally.sent) / elapsed.inSeconds : 0
    }

    var broken: [String] { tally.broken(mode.promise) }

    /// What happened to it.
    var circumstances: String {
        var parts: [String] = []
        if cuts > 0 { parts.append(count(cuts, "cut")) }
        if lostConfirmations > 0 { parts.append(count(lostConfirmations, "lost confirmation")) }
        if kills > 0 { parts.append(count(kills, "kill")) }
        if aborted > 0 { parts.append("\(count(aborted, "transaction")) aborted") }
        if repeated > 0 { parts.append("\(count(repeated, "message")) transformed again") }
        return parts.isEmpty ? "nothing happened" : parts.joined(separator: ", ")
    }
}

/// How one mode ended.
enum ExperimentOutcome: Sendable {
    case shown(ExperimentResult)
    /// It was not tried, because this cluster cannot show it.
    case notShown(ExperimentMode, reason: String)
    /// It was tried and did not come to its end.
    case failed(ExperimentMode, reason: String)

    var mode: ExperimentMode {
        switch self {
        case .shown(let result): result.mode
        case .notShown(let mode, _), .failed(let mode, _): mode
        }
    }

    /// Why the experiment as a whole has failed; nil where this is as it should be.
    var complaint: String? {
        switch self {
        case .shown(let result):
            result.broken.isEmpty ? nil : "\(result.mode.rawValue): \(result.broken.joined(separator: ", "))"
        case .notShown: nil
        case .failed(let mode, let reason): "\(mode.rawValue) did not come to its end: \(reason)"
        }
    }
}

/// Everything, for the table, the page and the JSON.
struct ExperimentReport: Sendable {
    let isMock: Bool
    let profile: ExperimentProfile
    let seed: UInt64
    let messages: Int
    var outcomes: [ExperimentOutcome] = []

    var results: [ExperimentResult] {
        outcomes.compactMap { if case .shown(let result) = $0 { result } else { nil } }
    }

    /// How to see it again; the seed and all.
    var command: String {
        let servers = isMock ? "" : " --bootstrap-servers …"
        return "kafka-delivery experiment\(servers) --profile \(profile.rawValue) --messages \(messages) --seed \(seed)"
    }
}
