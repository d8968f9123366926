import Synchronization

@testable import KafkaDelivery

/// A clock that stands still until a test moves it.
final class TestClock: BackoffClock {
    private let start = ContinuousClock.now
    private let elapsed_ = Mutex(Duration.zero)

    /// How far it was moved.
    var elapsed: Duration { elapsed_.withLock { $0 } }

    var now: ContinuousClock.Instant { start.advanced(by: elapsed) }

    var timestamp: KafkaTimestamp {
        let (seconds, attoseconds) = elapsed.components
        return KafkaTimestamp(
            millisecondsSince1970: 1_700_000_000_000 + seconds * 1_000 + attoseconds / 1_000_000_000_000_000
        )
    }

    // Never: whoever moves the clock interrupts the thread.
    func wakeTime(for due: ContinuousClock.Instant) -> ContinuousClock.Instant? { nil }

    /// Moves the clock, and returns when the consumer has looked at it.
    func advance(by duration: Duration, _ consumer: KafkaConsumer) async throws {
        elapsed_.withLock { $0 += duration }
        // Answered by the consumer's thread, which looks at the clock whenever it has something to do.
        consumer.core.interrupt()
        try await consumer.commit()
        try await consumer.commit()
    }
}
