/// What back-off is measured with: the system's clock, or one that a test advances.
protocol BackoffClock: Sendable {
    /// Now.
    var now: ContinuousClock.Instant { get }

    /// Until when the consumer's thread may sleep for something that is due then; nil where somebody will interrupt it.
    func wakeTime(for due: ContinuousClock.Instant) -> ContinuousClock.Instant?
}

/// The system's clock.
struct SystemBackoffClock: BackoffClock {
    var now: ContinuousClock.Instant { .now }

    func wakeTime(for due: ContinuousClock.Instant) -> ContinuousClock.Instant? { due }
}
