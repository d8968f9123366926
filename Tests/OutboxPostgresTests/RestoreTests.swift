import Foundation
import OutboxDelivery
import OutboxPostgres
import OutboxTesting
import Testing

@Suite(.timeLimit(.minutes(5)))
struct RestoreTests {
    // Nothing stored depends on transaction ids, which begin anew in another cluster.
    @Test func whatWaitsInADumpIsPublishedFromANewClusterAndNewRowsAfterIt() async throws {
        let old = try await PostgresServer.start()
        let new = try await PostgresServer.start()
        let first = try await TestOutbox.make(on: TestDatabase(url: old.url, schema: "public"))
        // Published ones, so that the numbers that wait are not the first.
        let before = Recorder()
        try await running(first.publisher(before)) {
            for number in 0..<50 { try await first.write(OutboxMessage(topic: "\(number)", key: "k", payload: "x")) }
            await before.wait(for: 50)
            try await first.wait(until: 0, "SELECT count(*) FROM outbox")
        }
        for number in 50..<60 { try await first.write(OutboxMessage(topic: "\(number)", key: "k", payload: "x")) }
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).sql").path
        defer { try? FileManager.default.removeItem(atPath: file) }
        try await old.run("pg_dump", ["-d", old.url, "-f", file])
        try await new.run("psql", ["-q", "-v", "ON_ERROR_STOP=1", "-d", new.url, "-f", file])

        let second = try await TestOutbox.make(on: TestDatabase(url: new.url, schema: "public"))
        let after = Recorder()
        try await running(second.publisher(after)) {
            await after.wait(for: 10)
            try await second.write(OutboxMessage(topic: "60", key: "k", payload: "x"))
            await after.wait(for: 11)
        }
        #expect(after.topics == (50...60).map(String.init))
        await first.close()
        await second.close()
        await old.shutdown()
        await new.shutdown()
    }

    @Test func aServerThatRestartsAtOnceLosesNothingAndThePublisherComesBack() async throws {
        let server = try await PostgresServer.start()
        let recorder = Recorder()
        let test = try await TestOutbox.make(on: TestDatabase(url: server.url, schema: "public"))
        try await running(test.publisher(recorder)) {
            try await test.write(OutboxMessage(topic: "1", key: "k", payload: "x"))
            await recorder.wait(for: 1)
            try await server.restart(.immediate)
            let writer = try await test.database.connect()
            try await writer.query(test.outbox.table.insert(OutboxMessage(topic: "2", key: "k", payload: "x")))
            await writer.close()
            // The first may come again, where its deletion was under way.
            while recorder.topics.last != "2" { try await Task.sleep(for: .milliseconds(2)) }
        }
        #expect(recorder.topics.first == "1" && recorder.topics.last == "2")
        await test.close()
        await server.shutdown()
    }
}
