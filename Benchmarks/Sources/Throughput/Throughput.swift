import ArgumentParser
import Foundation

@main
struct Throughput: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measures KafkaDelivery against librdkafka called directly from C.",
        discussion: """
            Every scenario is run by the library and by a bare loop in C, with the same settings and the same bytes, \
            in turn and in fresh processes: one round to warm up (which counts allocations), then those that are \
            measured. The mock brokers are a process of their own.

              scripts/bench                                 everything, about ten minutes
              scripts/bench --quick                         what has a figure to reach, two minutes
              scripts/bench --scenario 3 --scenario 9/      scenarios by number, or by any part of a name
              scripts/bench --bootstrap-servers localhost:9092 --report bench.html

            Exit status: 0 when everything was measured, 1 when something could not be, 2 with --check-allocations \
            when a limit is exceeded, 64 when the command line is wrong.
            """,
        subcommands: [WorkerCommand.self, ClusterCommand.self]
    )

    @Option(help: ArgumentHelp("A running cluster, instead of a mock one.", valueName: "host:port"))
    var bootstrapServers: [String] = []

    @Option(
        help: ArgumentHelp("Only those with this number, or this in their name. Can be repeated.", valueName: "name")
    )
    var scenario: [String] = []

    @Option(help: "How many rounds are measured, after one to warm up.")
    var rounds: Int?

    @Flag(help: "Fewer scenarios, smaller, three rounds.")
    var quick = false

    @Flag(help: "Names the scenarios, and ends.")
    var list = false

    @Flag(help: "Counts allocations only, and compares them with what is allowed. For CI.")
    var checkAllocations = false

    @Option(help: ArgumentHelp("Writes a page with tables and charts.", valueName: "file"))
    var report: String?

    @Option(help: ArgumentHelp("Writes each chart as an SVG file, for documentation.", valueName: "directory"))
    var charts: String?

    @Option(help: ArgumentHelp("Writes all figures as JSON.", valueName: "file"))
    var json: String?

    @Option(help: ArgumentHelp("Writes the table as Markdown.", valueName: "file"))
    var markdown: String?

    func validate() throws {
        if let rounds, !(1...100).contains(rounds) {
            throw ValidationError("--rounds \(rounds): 1 to 100 are possible.")
        }
    }

    @MainActor func run() async throws {
        var cells = quick || checkAllocations ? Catalogue.quick : Catalogue.full
        if checkAllocations { cells = cells.filter { AllocationLimit.of($0) != nil } }
        if !scenario.isEmpty {
            cells = cells.filter { cell in
                scenario.contains { Int($0).map { $0 == cell.scenario } ?? cell.name.contains($0) }
            }
        }
        guard !cells.isEmpty else { throw ValidationError("No scenario is called that: --list names them.") }
        if list {
            for cell in cells { print(cell.name, "\t", cell.title) }
            return
        }

        let rounds = checkAllocations ? 0 : rounds ?? (quick ? 3 : 5)
        let bench = try Bench(servers: bootstrapServers, rounds: rounds)
        var run = bench.run(cells)
        if checkAllocations {
            var excessive = AllocationLimit.check(run)
            // What is the library's doing is there each time. A machine that is busy elsewhere is not.
            for _ in 0..<2 where run.failures.isEmpty && !excessive.isEmpty {
                run = bench.run(excessive)
                excessive = AllocationLimit.check(run)
            }
            guard excessive.isEmpty else { throw ExitCode(2) }
        } else {
            try write(run)
        }
        guard run.failures.isEmpty else { throw ExitCode.failure }
    }

    private func write(_ run: Run) throws {
        if let json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            try encoder.encode(run).write(to: URL(fileURLWithPath: json))
        }
        if let markdown {
            try Data(MarkdownReport(run).text.utf8).write(to: URL(fileURLWithPath: markdown))
        }
        if let report {
            try Data(PageReport(run).text.utf8).write(to: URL(fileURLWithPath: report))
        }
        if let charts {
            let directory = URL(fileURLWithPath: charts, isDirectory: true)
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            for chart in PageReport.charts(run) {
                try Data(chart.file.utf8).write(to: directory.appending(path: "\(chart.name).svg"))
            }
        }
    }
}
