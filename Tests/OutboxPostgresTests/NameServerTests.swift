import Dispatch
import OutboxDelivery
import Testing

@testable import OutboxPostgres

/// While libpq looks a name up the connection's thread cannot be reached.
@Suite(.timeLimit(.minutes(5)))
struct NameServerTests {
    /// A name server that does not answer until it is let go.
    private final class NameServer: Sendable {
        private let gate = DispatchSemaphore(value: 0)
        let asked = AsyncStream.makeStream(of: Void.self)

        func lookUp() {
            asked.continuation.yield()
            gate.wait()
        }

        func answer() { gate.signal() }
    }

    @Test func aNameServerThatDoesNotAnswerIsWaitedForNoLongerThanConnectingMayTake() async throws {
        let server = NameServer()
        var settings = try await TestDatabase.make().settings
        settings.connectTimeout = .milliseconds(50)
        let given = settings
        let error = await #expect(throws: OutboxError.self) {
            try await LibpqConnection.open(given) { server.lookUp() }
        }
        #expect(error?.kind == .unavailable && error?.recovery == .retry && error?.persistence == .notPersisted)
        server.answer()
    }

    @Test func aTaskThatIsCancelledWhileANameIsLookedUpEndsAtOnce() async throws {
        let server = NameServer()
        var settings = try await TestDatabase.make().settings
        settings.connectTimeout = .seconds(Int64.max)
        let given = settings
        let task = Task { try await LibpqConnection.open(given) { server.lookUp() } }
        for await _ in server.asked.stream { break }
        task.cancel()
        let error = await #expect(throws: OutboxError.self) { try await task.value }
        #expect(error?.kind == .cancelled)
        server.answer()
    }

    @Test func aNameThatIsLookedUpInTimeLeadsToAConnection() async throws {
        let server = NameServer()
        server.answer()
        let connection = try await LibpqConnection.open(TestDatabase.make().settings) { server.lookUp() }
        #expect(try await connection.query(OutboxStatement("SELECT 1")).integer(0, 0) == 1)
        await connection.close()
    }
}
