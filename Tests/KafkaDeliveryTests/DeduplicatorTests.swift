import KafkaDelivery
import Synchronization
import Testing

/// What is remembered, from when, and for how long.
struct DeduplicatorTests {
    private struct Failure: Error {}

    private final class Counter: Sendable {
        let value = Atomic(0)
    }

    @Test func aKeyIsRememberedAfterItsHandlerSucceededAndNotBefore() async throws {
        let deduplicator = KafkaInMemoryDeduplicator(maximumCount: 10)
        await #expect(throws: Failure.self) { try await deduplicator.handleOnce("a") { throw Failure() } }
        #expect(try await deduplicator.handleOnce("a") {})
        #expect(try await !deduplicator.handleOnce("a") { Issue.record("handled twice") })
        #expect(try await deduplicator.handleOnce("b") {})
    }

    @Test func theOldestKeyIsForgottenWhenThereAreTooMany() async throws {
        let deduplicator = KafkaInMemoryDeduplicator(maximumCount: 2)
        for key in ["a", "b", "c"] as [KafkaBytes] { #expect(try await deduplicator.handleOnce(key) {}) }
        #expect(try await !deduplicator.handleOnce("b") {})
        #expect(try await !deduplicator.handleOnce("c") {})
        #expect(try await deduplicator.handleOnce("a") {})
    }

    @Test func ofManyAtATimeOneIsHandled() async throws {
        let deduplicator = KafkaInMemoryDeduplicator(maximumCount: 10)
        let handled = Counter()
        let ran = try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<100 {
                group.addTask {
                    do {
                        return try await deduplicator.handleOnce("a") {
                            await Task.yield()
                            // The first ones fail, and those that wait for them take over.
                            if number % 2 == 0 { throw Failure() }
                            handled.value.add(1, ordering: .relaxed)
                        }
                    } catch is Failure {
                        return false
                    }
                }
            }
            return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(ran == 1)
        #expect(handled.value.load(ordering: .relaxed) == 1)
    }

    @Test func whoWaitsForAnotherCanBeCancelled() async throws {
        let deduplicator = KafkaInMemoryDeduplicator(maximumCount: 10)
        _ = try await deduplicator.handleOnce("a") {
            let waiting = Task { try await deduplicator.handleOnce("a") {} }
            waiting.cancel()
            await #expect(throws: CancellationError.self) { try await waiting.value }
        }
    }

    @Test func aMessageKeepsTheKeyItHas() {
        let message = KafkaMessage(topic: "t", value: "v").stampedWithIdempotencyKey()
        #expect(message.idempotencyKey?.count == 32)
        #expect(message.stampedWithIdempotencyKey() == message)
        var other = message
        other.idempotencyKey = "x"
        #expect(other.headers.count == 1)
        other.idempotencyKey = nil
        #expect(other.headers.isEmpty)
    }
}
