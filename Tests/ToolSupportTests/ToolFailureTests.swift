import ArgumentParser
import Testing

@testable import ToolSupport

@Suite struct ToolFailureTests {
    private struct Refused: ToolFailureConvertible {
        var toolFailure: ToolFailure { ToolFailure("refused", status: 3) }
    }

    private struct Root: ToolCommand {
        static let configuration = CommandConfiguration(commandName: "root", subcommands: [Group.self])
    }

    private struct Group: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "group", subcommands: [Leaf.self])
    }

    private struct Leaf: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "leaf")
        @Option var name: String
        func run() async throws { throw Refused() }
    }

    @Test func anErrorOfAnotherTargetSaysItsOwnSentenceAndStatus() {
        let error: any Error = Refused()
        #expect((error as? any ToolFailureConvertible)?.toolFailure == ToolFailure("refused", status: 3))
        let failure: any Error = ToolFailure("no")
        #expect((failure as? any ToolFailureConvertible)?.toolFailure.status == 1)
    }

    @Test func aGroupOfCommandsIsFoundUnderTheRoot() async throws {
        var command = try Root.parseAsRoot(["group", "leaf", "--name", "a"])
        let leaf = try #require(command as? Leaf)
        #expect(leaf.name == "a")
        await #expect(throws: Refused.self) {
            guard var asynchronous = command as? any AsyncParsableCommand else { return try command.run() }
            try await asynchronous.run()
        }
    }
}
