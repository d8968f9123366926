import Foundation
import KafkaDeliveryTesting
import Testing

/// How a run with a history ended.
struct HistoryOutcome: Sendable {
    let history: DeliveryHistory
    /// What went wrong beside the history.
    var problems: [String]
    var summary = ""
    /// How many child processes wrote records.
    let children: Int
    /// Where those records are.
    private let folder: URL

    /// Merges what the child processes recorded in a folder with what the run did itself.
    init(_ recorder: DeliveryHistory.Recorder, folder: URL, problems: [String]) throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".jsonl") }
        let children = try files.map { try DeliveryHistory(contentsOfFile: folder.appendingPathComponent($0).path) }
        self.history = DeliveryHistory(merging: children + [try recorder.history])
        self.problems = problems
        self.children = files.count
        self.folder = folder
    }

    func count(_ condition: (DeliveryHistory.Event) -> Bool) -> Int {
        history.records.count { condition($0.event) }
    }

    /// Records an issue where a promise was broken or something else went wrong, and keeps the records then.
    func judge(by checker: DeliveryHistory.Checker, seed: UInt64, steps: [String] = []) throws {
        let anomalies = checker.check(history)
        print("\(summary); \(anomalies.count) anomalies")
        guard !anomalies.isEmpty || !problems.isEmpty else { return try FileManager.default.removeItem(at: folder) }
        let path = folder.appendingPathComponent("merged.jsonl").path
        try history.write(toFile: path)
        let examples = Dictionary(grouping: anomalies, by: \.kind).values.flatMap { $0.prefix(5) }.map(\.description)
        let evidence = anomalies.first?.position.map { history.records(of: $0).map { "\($0)" } } ?? []
        func indented(_ lines: some Sequence<String>) -> String { lines.map { "  \($0)" }.joined(separator: "\n") }
        Issue.record(
            """
            seed \(seed), all records in \(path):
            \(indented(problems + examples))
            \(indented(steps))
            What is known of the first:
            \(indented(evidence.suffix(30)))
            """
        )
    }
}
