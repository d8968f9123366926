import Foundation
import KafkaDelivery
import Synchronization
import ToolSupport

/// What `redrive` writes to standard output: a table, or JSON.
///
/// Rows come from several partitions at a time. The first ones are kept, so that columns can be as wide as they need and
/// rows in order; where there are many the rest follows as it comes.
final class RedriveListing: Sendable {
    struct Counts: Sendable {
        var redriven = 0
        var failed = 0
        var often = 0
        var returning = 0
        var refused = 0
        /// Why, where all were refused for the same reason.
        var refusal: String?

        mutating func addRefusal(_ reason: String) {
            if refused == 0 { refusal = reason } else if refusal != reason { refusal = nil }
            refused += 1
        }
    }

    private struct State {
        var counts = Counts()
        var rows: [RedriveTable.Row] = []
        /// Set when the first rows are written.
        var table: RedriveTable?
    }

    private static let maximumKept = 1_000

    private let job: RedriveJob
    private let output = Output(STDOUT_FILENO)
    private let bar: ProgressBar
    // Each partition's task adds to it.
    private let state = Mutex(State())

    init(_ job: RedriveJob) {
        self.job = job
        // JSON is written as it comes, between which a bar on the same terminal would be in the way.
        let isInTheWay = job.isJSON && isatty(STDOUT_FILENO) == 1
        self.bar = ProgressBar(bytesInAll: nil, isShown: job.mayShowProgress && !job.isDry && !isInTheWay)
    }

    var counts: Counts { state.withLock { $0.counts } }

    func add(_ letter: KafkaRedrive.Letter, _ outcome: KafkaRedrive.Outcome) async throws(SystemError) {
        if case .left(.filtered) = outcome { return }
        count(outcome)
        if job.isJSON {
            return try await output.write(RedriveEnvelope.bytes(of: letter, outcome))
        }
        let row = RedriveTable.Row(letter, outcome)
        let lines = state.withLock { state in
            if let table = state.table { return table.line(row) }
            state.rows.append(row)
            return state.rows.count >= Self.maximumKept ? flush(&state) : ""
        }
        if !lines.isEmpty { try await output.write(lines.utf8) }
    }

    private func count(_ outcome: KafkaRedrive.Outcome) {
        state.withLock { state in
            switch outcome {
            case .redriven, .selected: state.counts.redriven += 1
            case .failed: state.counts.failed += 1
            case .refused(let error): state.counts.addRefusal(error.sentence)
            case .left(.redrivenTooOften): state.counts.often += 1
            case .left(.wouldReturn): state.counts.returning += 1
            case .left: break
            }
        }
        switch outcome {
        case .redriven: bar.update { $0.confirmed += 1 }
        case .failed, .refused: bar.update { $0.failed += 1 }
        case .selected, .left: break
        }
    }

    /// The rows that were kept, under a heading, and the widths for those that follow.
    private func flush(_ state: inout State) -> String {
        let rows = state.rows.sorted { ($0.partition, $0.offset) < ($1.partition, $1.offset) }
        state.rows = []
        let table = RedriveTable(
            rows,
            isDry: job.isDry,
            columns: Platform.outputColumns,
            style: .standardOutput
        )
        state.table = table
        // A bar that is drawn between rows would be in the way.
        _ = bar.finish()
        StandardError.show(status: "")
        return table.heading + rows.map(table.line).joined()
    }

    /// Writes what is left.
    ///
    /// - Returns: Why not, where that is so.
    func finish() async -> SystemError? {
        let rest = state.withLock { $0.table == nil && !$0.rows.isEmpty ? flush(&$0) : "" }
        _ = bar.finish()
        StandardError.show(status: "")
        do {
            if !rest.isEmpty { try await output.write(rest.utf8) }
            try await output.flush()
            return nil
        } catch {
            return error
        }
    }
}
