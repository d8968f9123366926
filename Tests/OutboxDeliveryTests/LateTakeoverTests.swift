import Logging
import Testing

@testable import OutboxDelivery

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A destination that takes a slot over when the publisher has ended: what it has made by then is closed.
@Suite(.timeLimit(.minutes(5)))
struct LateTakeoverTests {
    private struct Store: OutboxStore {
        let notesBatches = true
        func openSession() async throws(OutboxError) -> Session { Session() }
    }

    /// With one row.
    private struct Session: OutboxSession {
        let keepAlive = Duration.seconds(1)
        func balance(busy: Set<Int>) async throws(OutboxError) -> OutboxShare { OutboxShare(slots: [0], publishers: 1) }
        func read(_ request: OutboxReadRequest) async throws(OutboxError) -> [OutboxEvent] {
            let message = OutboxMessage(topic: "t", key: "k", payload: "")
            return [
                OutboxEvent(id: .init(slot: 0, number: 1), createdAt: Date(timeIntervalSince1970: 0), message: message)
            ]
        }
        func settle(_ settlement: OutboxSettlement) async throws(OutboxError) -> Int { 0 }
        func lastInflight(slot: Int, destination: String) async throws(OutboxError) -> OutboxInflight? { nil }
        func maintain() async throws(OutboxError) -> OutboxMaintenance { OutboxMaintenance() }
        func waitForWork(atMost timeout: Duration) async -> Bool { false }
        func close() async {}
    }

    private struct Writer: ExactlyOnceWriter {
        let lastNumber: Int64 = 0
        let closed: AsyncStream<Void>.Continuation
        func publish(_ batch: [OutboxEvent], as inflight: OutboxInflight) async -> ExactlyOnceResult { .init([]) }
        func close() async { closed.yield() }
    }

    /// Takes a slot over when it is told to, also where its task is cancelled.
    private final class Destination: ExactlyOnceDestination {
        let begun = AsyncStream.makeStream(of: Void.self)
        let closed = AsyncStream.makeStream(of: Void.self)
        private let order = AsyncStream.makeStream(of: Void.self)

        func goOn() { order.continuation.finish() }

        func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] { [] }

        func takeOver(
            slot: Int,
            destination: String,
            last: OutboxInflight?
        ) async throws(OutboxError) -> any ExactlyOnceWriter {
            begun.continuation.yield()
            await Task { for await _ in order.stream {} }.value
            return Writer(closed: closed.continuation)
        }
    }

    @Test func aWriterThatComesWhenThePublisherHasEndedIsClosed() async throws {
        let destination = Destination()
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let publisher = OutboxPublisher(store: Store(), destinations: ["kafka": destination], logger: logger)
        async let running: Void = publisher.run()
        for await _ in destination.begun.stream { break }
        await publisher.close(within: .zero)
        try await running
        destination.goOn()
        for await _ in destination.closed.stream { break }
        // The publisher is what such a writer would live as long as.
        withExtendedLifetime(publisher) {}
    }
}
