import ArgumentParser
import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import ToolSupport

struct ExperimentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "experiment",
        abstract: "Shows what at-most-once loses, at-least-once repeats, and exactly-once does neither of.",
        discussion: """
            Sends numbered messages through a network that cuts connections and loses confirmations, once for each mode, \
            kills processes where the mode is about that, reads back what is stored past that network, and counts.

              kafka-delivery experiment
              kafka-delivery experiment --report experiment.html
              kafka-delivery experiment --bootstrap-servers localhost:9092

            It takes about a minute. Without an address it starts a mock cluster in its own process, which checks sequence numbers as Kafka does; \
            what that cannot show, it says. With one it leaves topics named \(Experiment.prefix)-… there, which the \
            cluster has to be allowed to create.

            Profiles:
            \(ExperimentProfile.allCases.map { "  \($0.rawValue): \($0.explanation)" }.joined(separator: "\n"))

            Modes:
            \(ExperimentMode.allCases.map { "  \($0.rawValue): \($0.explanation)" }.joined(separator: "\n"))

            Exit status: 0 when every mode kept what it promises, 1 when one did not, or did not come to its end, 64 when \
            the command line is wrong, 130 or 143 when a signal ended it.
            """
    )

    /// What the mock cluster keeps of a partition, with repetitions.
    static let maximumMessages = 100_000

    @Option(
        name: [.customShort("b"), .long],
        help: ArgumentHelp(
            "Use this cluster: host:port, several with commas. Default: a mock cluster of its own.",
            valueName: "servers"
        )
    )
    var bootstrapServers: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("How many messages for each mode, 100 to \(maximumMessages).", valueName: "number")
    )
    var messages: Int = 10_000

    @Option(help: ArgumentHelp("What is wrong with the network.", valueName: "name"))
    var profile: ExperimentProfile = .flaky

    @Option(parsing: .unconditional, help: ArgumentHelp("What faults and kills are drawn from.", valueName: "number"))
    var seed: UInt64 = 1

    @Option(help: ArgumentHelp("Only these modes, with commas.", valueName: "names"))
    var modes: String?

    @Flag(help: "Print the figures as JSON rather than as a table.")
    var json = false

    @Option(
        help: ArgumentHelp("Write a page with charts: one file of HTML that needs nothing else.", valueName: "file"),
        completion: .file()
    )
    var report: String?

    @OptionGroup
    var client: ClientOptions

    func validate() throws {
        guard (100...Self.maximumMessages).contains(messages) else {
            throw ValidationError("--messages \(messages): 100 to \(Self.maximumMessages) are possible.")
        }
        _ = try chosenModes()
    }

    /// In the order of the list of all.
    func chosenModes() throws -> [ExperimentMode] {
        guard let modes else { return ExperimentMode.allCases }
        let names = modes.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimming(" ") }
        let chosen = try names.map { name in
            guard let mode = ExperimentMode(rawValue: name) else {
                throw ValidationError(
                    "--modes: \"\(name)\" is none of \(ExperimentMode.allCases.map(\.rawValue).joined(separator: ", "))."
                )
            }
            return mode
        }
        return ExperimentMode.allCases.filter { chosen.contains($0) }
    }

    func run() async throws {
        let modes = try chosenModes()
        let given = try bootstrapServers.map { list in try ClusterOptions.servers(in: list) }
        try await withInterruption { interruption in
            let running = Task { try await run(modes, given) }
            interruption.onSignal { running.cancel() }
            let result = await running.result
            if let status = interruption.status, case .failure = result {
                throw ToolFailure("interrupted", status: status)
            }
            let complaints = try result.get().outcomes.compactMap(\.complaint)
            if !complaints.isEmpty { throw ToolFailure(complaints.joined(separator: "\n")) }
        }
    }

    private func run(_ modes: [ExperimentMode], _ given: [String]?) async throws -> ExperimentReport {
        let mock = given == nil ? try MockCluster(checksSequences: true) : nil
        let progress = ExperimentProgress(modes: modes.count, isShown: StandardError.isTerminal)
        let experiment = Experiment(
            servers: given ?? mock?.bootstrapServers ?? [],
            mock: mock,
            profile: profile,
            seed: seed,
            messages: messages,
            client: client,
            progress: progress
        )
        var report = ExperimentReport(isMock: mock != nil, profile: profile, seed: seed, messages: messages)
        defer { progress.finish() }
        for mode in modes { report.outcomes.append(try await experiment.run(mode)) }
        progress.finish()
        await mock?.shutdown()
        try write(report)
        return report
    }

    private func write(_ report: ExperimentReport) throws {
        if json {
            StandardOutput.print(try ExperimentJSON(report).text())
        } else {
            for line in ExperimentTable(report: report, style: .standardOutput).lines {
                StandardOutput.print(line)
            }
        }
        guard let path = self.report else { return }
        do {
            try ExperimentPage(report: report).html.write(toFile: path, atomically: true, encoding: .utf8)
        } catch {
            throw ToolFailure("the page could not be written to \(path): \(error.localizedDescription)")
        }
        if !json { StandardOutput.print("page: \(path)") }
    }
}
