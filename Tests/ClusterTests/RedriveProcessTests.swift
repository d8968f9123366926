import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// `kafka-delivery redrive` and `demo`, seen from outside.
@Suite(.timeLimit(.minutes(5)))
struct RedriveProcessTests {
    private static func tool(_ arguments: [String]) throws -> ChildProcess {
        let folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        return try ChildProcess(folder.appendingPathComponent("kafka-delivery").path, arguments)
    }

    private static func lines(_ process: ChildProcess, count: Int = .max) async -> [String] {
        await process.lines().prefix(count).reduce(into: []) { $0.append($1) }
    }

    @Test func aRedriveThatIsKilledLosesNothingAndRepeatsOnlyItsLastMoments() async throws {
        let fixture = try await RedriveFixture()
        // At the rate below they would take ten seconds: it is not done before it is killed.
        let count = 200
        try await fixture.add(count)
        let arguments = [
            "redrive", fixture.letters, "--json", "-b", fixture.cluster.bootstrapServers.joined(separator: ","),
            "-X", "session.timeout.ms=\(TestCluster.isMock ? 4_000 : 6_000)",
        ]
        let killed = try Self.tool(arguments + ["--rate", "20"])
        // What is told of is remembered: a line is written after the commit.
        let told = await Self.lines(killed, count: 5)
        kill(killed.identifier, SIGKILL)
        #expect(killed.wait() == SIGKILL)
        #expect(told.count == 5)

        let second = try Self.tool(arguments)
        let rest = await Self.lines(second)
        #expect(second.wait() == 0)
        #expect(rest.count <= count - 5)
        let replays = try await fixture.replays()
        #expect(Set(replays) == Set((0..<count).map(String.init)))
        #expect(replays.filter { (0..<5).map(String.init).contains($0) } == (0..<5).map(String.init))
        await fixture.producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "brings its own cluster"))
    func theDemonstrationShowsAnEventThatFailsAndIsRedriven() async throws {
        let demo = try Self.tool(["demo"])
        let lines = await Self.lines(demo)
        #expect(demo.wait() == 0)
        #expect(lines.contains { $0.contains("nothing was lost, and nothing came twice") })
        #expect(lines.count { $0.contains("attempt ") } == 3)
        #expect(lines.contains { $0.contains("UnknownRegion") })
        #expect(lines.contains { $0.contains("redriven to earthquakes [") })
        #expect(lines.contains { $0.contains("handled at last") })
    }
}
