import Foundation

/// A process of its own for tests, to be killed or to die by itself: `TestMember ROLE ARGUMENT…`.
///
/// Each role is a function in a file of its own, takes the remaining arguments, and ends when its input does.
@main
struct TestMember {
    /// What it can be started as, by the first argument.
    private static let roles: [String: @Sendable ([String]) async throws -> Void] = [:]

    static func main() async throws {
        let arguments = CommandLine.arguments.dropFirst()
        guard let name = arguments.first, let role = roles[name] else {
            try? FileHandle.standardError.write(contentsOf: Data("Say one of: \(roles.keys.sorted())\n".utf8))
            exit(64)
        }
        try await role(Array(arguments.dropFirst()))
    }
}
