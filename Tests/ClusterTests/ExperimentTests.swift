import Foundation
import KafkaDeliveryTesting
import Testing

/// The tool's experiment, as somebody at a terminal runs it.
@Suite(.timeLimit(.minutes(3)))
struct ExperimentTests {
    private struct Report: Decodable {
        struct Mode: Decodable {
            let mode: String
            let outcome: String
            let broken: [String]?
            let sent: Int?
            let stored: Int?
            let lost: Int?
            let duplicated: Int?
            let reordered: Int?
            let connectionsCut: Int?
            let confirmationsLost: Int?
            let kills: Int?
        }

        let cluster: String
        let modes: [Mode]

        func mode(_ name: String) throws -> Mode {
            try #require(modes.first { $0.mode == name })
        }
    }

    private func run(_ arguments: [String]) async throws -> Report {
        let folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        let tool = folder.appendingPathComponent("kafka-delivery").path
        var arguments = ["experiment", "--json"] + arguments
        if !TestCluster.isMock {
            arguments += ["--bootstrap-servers", try TestCluster().bootstrapServers.joined(separator: ",")]
        }
        let process = try ChildProcess(tool, arguments)
        let (output, status) = try await onThread {
            (process.output.readDataToEndOfFile(), process.wait())
        }
        #expect(status == 0)
        return try JSONDecoder().decode(Report.self, from: output)
    }

    /// Whatever the seed: fewer messages than by default, and so as many faults for each.
    @Test(arguments: [1, 2])
    func atMostOnceLosesAtLeastOnceRepeatsAndIdempotenceDoesNeither(seed: Int) async throws {
        let report = try await run([
            "--messages", "3000", "--modes", "at-most-once,at-least-once,idempotent", "--seed", "\(seed)",
        ])
        let (most, least, exact) = try (
            report.mode("at-most-once"), report.mode("at-least-once"), report.mode("idempotent")
        )
        for mode in report.modes {
            #expect(mode.sent == 3_000)
            #expect(mode.broken == [])
        }
        #expect((most.lost ?? 0) > 0)
        #expect(most.duplicated == 0)
        #expect((least.duplicated ?? 0) > 0)
        #expect(least.lost == 0)
        #expect((exact.lost, exact.duplicated, exact.reordered) == (0, 0, 0))
        #expect(exact.stored == 3_000)
    }

    /// Members of a group, behind the network of the profile. In two tests, for each waits for its group to notice kills.
    @Test func aMemberThatIsKilledLosesWhatItCommittedBeforeHandlingIt() async throws {
        let mode = try await run(["--messages", "1000", "--modes", "commit-before-handling"])
            .mode("commit-before-handling")
        #expect(mode.kills == 2)
        #expect((mode.connectionsCut ?? 0) > 0)
        #expect((mode.lost ?? 0) > 0)
        #expect(mode.duplicated == 0)
    }

    @Test func aMemberThatIsKilledRepeatsWhatItHandledBeforeCommittingIt() async throws {
        let mode = try await run(["--messages", "1000", "--modes", "commit-after-handling"])
            .mode("commit-after-handling")
        #expect(mode.kills == 2)
        #expect((mode.connectionsCut ?? 0) > 0)
        #expect((mode.duplicated ?? 0) > 0)
        #expect(mode.lost == 0)
    }

    @Test func aCalmNetworkLosesAndRepeatsNothing() async throws {
        let report = try await run([
            "--messages", "1000", "--modes", "at-most-once,at-least-once,idempotent", "--profile", "calm",
        ])
        for mode in report.modes {
            #expect((mode.stored, mode.lost, mode.duplicated, mode.reordered) == (1_000, 0, 0, 0))
            #expect(mode.connectionsCut == 0)
        }
    }

    @Test func transactionsAreExactOnARealClusterAndNotPretendedOnAMock() async throws {
        let report = try await run(["--messages", "500", "--modes", "transactional,consume-transform-produce"])
        for mode in report.modes {
            #expect(mode.outcome == (TestCluster.isMock ? "notShown" : "shown"))
            #expect(mode.lost == (TestCluster.isMock ? nil : 0))
            #expect(mode.duplicated == (TestCluster.isMock ? nil : 0))
            #expect(mode.reordered == (TestCluster.isMock ? nil : 0))
            #expect(mode.kills == (TestCluster.isMock ? nil : 2))
        }
    }
}
