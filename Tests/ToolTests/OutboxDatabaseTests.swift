#if SQLite
    import ArgumentParser
    import Foundation
    import GRDB
    import OutboxDelivery
    import Testing
    import ToolSupport

    @testable import kafka_delivery

    /// The tool beside a service that uses the same file.
    struct OutboxDatabaseTests {
        private func withPath(_ body: (String) async throws -> Void) async throws {
            let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tool-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            try await body(folder.appendingPathComponent("service.sqlite").path)
        }

        private func journal(_ path: String) throws -> String? {
            try DatabaseQueue(path: path).read { try String.fetchOne($0, sql: "PRAGMA journal_mode") }
        }

        @Test func aMistypedPathMakesNoDatabase() async throws {
            try await withPath { path in
                let status = try OutboxStatusCommand.parse(["--database", "sqlite:\(path)"])
                let error = await #expect(throws: ToolFailure.self) { try await status.run() }
                #expect(error?.status == 64 && error?.sentence.contains(path) == true)
                #expect(!FileManager.default.fileExists(atPath: path))
                try await OutboxMigrateCommand.parse(["--database", "sqlite:\(path)"]).run()
                try await status.run()
            }
        }

        @Test(
            arguments: ["", "//", ":memory:", "//:memory:", "file::memory:", "file:", "//file:tool-tests?mode=memory"]
        )
        func aDatabaseThatIsGoneWithTheCommandIsRefused(_ path: String) async throws {
            let migrate = try OutboxMigrateCommand.parse(["--database", "sqlite:\(path)"])
            let error = await #expect(throws: ToolFailure.self) { try await migrate.run() }
            #expect(error?.status == 64 && error?.sentence.contains("names no file") == true)
        }

        @Test func theGreatestLimitOfParkedEventsIsPossible() async throws {
            try await withPath { path in
                try await OutboxMigrateCommand.parse(["--database", "sqlite:\(path)"]).run()
                try await OutboxParkedCommand.parse(["--database", "sqlite:\(path)", "--limit", "\(Int.max)"]).run()
            }
        }

        @Test func aServicesFileKeepsItsJournalMode() async throws {
            try await withPath { path in
                try await DatabaseQueue(path: path).write { try $0.execute(sql: "CREATE TABLE task (id TEXT)") }
                try await OutboxMigrateCommand.parse(["--database", "sqlite:\(path)"]).run()
                try await OutboxStatusCommand.parse(["--database", "sqlite:\(path)"]).run()
                #expect(try journal(path) == "delete")
                let pool = try DatabasePool(path: path)
                try await OutboxStatusCommand.parse(["--database", "sqlite:\(path)"]).run()
                #expect(try journal(path) == "wal")
                try pool.close()
            }
        }

        @Test func theToolWaitsForAServiceThatWrites() {
            guard case .timeout(let seconds) = OutboxOptions.settings.busyMode else {
                Issue.record("it does not wait")
                return
            }
            #expect(seconds == 10)
        }
    }
#endif
