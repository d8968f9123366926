/// What back-off is measured with: the system's clock, or one that a test advances.
protocol BackoffClock: Sendable {
    /// Now.
    var now: ContinuousClock.Instant { get }

    /// Now, as other machines say it.
    var timestamp: KafkaTimestamp { get }

    /// Until when the consumer's thread may sleep for something that is due then; nil where it will be interrupted.
    func wakeTime(for due: ContinuousClock.Instant) -> ContinuousClock.Instant?
}

/// The system's clock.
struct SystemBackoffClock: BackoffClock {
    var now: ContinuousClock.Instant { .now }

    var timestamp: KafkaTimestamp {
        KafkaTimestamp(millisecondsSince1970: Platform.millisecondsSince1970)
    }

    func wakeTime(for due: ContinuousClock.Instant) -> ContinuousClock.Instant? { due }
}
