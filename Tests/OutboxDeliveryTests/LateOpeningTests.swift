import Logging
import Testing

@testable import OutboxDelivery

/// A store that opens a session when the publisher has ended.
@Suite(.timeLimit(.minutes(5)))
struct LateOpeningTests {
    /// Opens when it is told to, also where its task is cancelled.
    private struct Store: OutboxStore {
        let begun = AsyncStream.makeStream(of: Void.self)
        let order = AsyncStream.makeStream(of: Void.self)
        let closed = AsyncStream.makeStream(of: Void.self)

        func openSession() async throws(OutboxError) -> Session {
            begun.continuation.yield()
            await Task { for await _ in order.stream {} }.value
            return Session(closed: closed.continuation)
        }
    }

    private struct Session: OutboxSession {
        let keepAlive = Duration.seconds(1)
        let closed: AsyncStream<Void>.Continuation
        func balance(busy: Set<Int>) async throws(OutboxError) -> OutboxShare { OutboxShare(slots: [], publishers: 1) }
        func read(_ request: OutboxReadRequest) async throws(OutboxError) -> [OutboxEvent] { [] }
        func settle(_ settlement: OutboxSettlement) async throws(OutboxError) -> Int { 0 }
        func maintain() async throws(OutboxError) -> OutboxMaintenance { OutboxMaintenance() }
        func waitForWork(atMost timeout: Duration) async -> Bool { false }
        func close() async { closed.yield() }
    }

    @Test func closingWaitsForNoServerThatSaysNothingAndWhatItOpensLaterIsClosed() async throws {
        let store = Store()
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let publisher = OutboxPublisher(store: store, destinations: [:], logger: logger)
        async let running: Void = publisher.run()
        for await _ in store.begun.stream { break }
        await publisher.close(within: .zero)
        try await running
        store.order.continuation.finish()
        for await _ in store.closed.stream { break }
        withExtendedLifetime(publisher) {}
    }
}
