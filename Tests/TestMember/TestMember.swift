import Foundation
import KafkaDeliveryTesting
import Logging

/// A process of its own for tests, to be killed or to die by itself: `TestMember ROLE ARGUMENT…`.
///
/// Each role is a function, takes the remaining arguments, and ends when its input does.
@main
struct TestMember {
    /// What it can be started as, by the first argument.
    private static let roles: [String: @Sendable ([String]) async throws -> Void] = [
        "history": runHistoryMember,
        "transform": runTransformMember,
    ]

    static func main() async throws {
        let arguments = CommandLine.arguments.dropFirst()
        guard let name = arguments.first, let role = roles[name] else {
            try? FileHandle.standardError.write(contentsOf: Data("Say one of: \(roles.keys.sorted())\n".utf8))
            exit(64)
        }
        try await role(Array(arguments.dropFirst()))
    }

    /// `history PLAN FILE`: a member of a history run, with its plan as JSON, and where it records. Writes a dot for
    /// each acknowledgement.
    private static func runHistoryMember(_ arguments: [String]) async throws {
        let plan = try JSONDecoder().decode(MemberPlan.self, from: Data(arguments[0].utf8))
        let recorder = try DeliveryHistory.Recorder(file: arguments[1])
        let logger = Logger(label: plan.name, factory: { StreamLogHandler.standardError(label: $0) })
        let run = try MemberRun(plan, recorder: recorder, logger: logger) {
            try? FileHandle.standardOutput.write(contentsOf: Data(".".utf8))
        }
        try await untilInputEnds({ try await run.run() }) { await run.leave() }
    }

    /// `transform PLAN FILE`: a process that transforms, with its plan as JSON, and where it records. Writes a dot for each
    /// message that it is given.
    private static func runTransformMember(_ arguments: [String]) async throws {
        let plan = try JSONDecoder().decode(TransformPlan.self, from: Data(arguments[0].utf8))
        let recorder = try DeliveryHistory.Recorder(file: arguments[1])
        let logger = Logger(label: plan.process, factory: { StreamLogHandler.standardError(label: $0) })
        let member = try TransformMember(plan, recorder: recorder, logger: logger) {
            try? FileHandle.standardOutput.write(contentsOf: Data(".".utf8))
        }
        try await untilInputEnds({ try await member.run() }) { await member.leave() }
    }

    /// Runs something until it ends, which `leave` makes it do when the input has ended.
    private static func untilInputEnds(
        _ run: @escaping @Sendable () async throws -> Void,
        leave: @escaping @Sendable () async -> Void
    ) async throws {
        let running = Task { try await run() }
        Thread.detachNewThread {
            _ = FileHandle.standardInput.readDataToEndOfFile()
            Task {
                await leave()
                running.cancel()
            }
        }
        try await running.value
    }
}
