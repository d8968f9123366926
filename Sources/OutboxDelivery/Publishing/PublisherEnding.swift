/// The time for closing is over: what is at destinations was cancelled, and has a moment to say what arrived all the same. That is
/// deleted then, and not sent again.
struct PublisherEnding {
    /// Until when it has.
    let until: ContinuousClock.Instant
    /// Events that came back without having been confirmed.
    private(set) var abandoned = 0

    init(at now: ContinuousClock.Instant) {
        until = now.advanced(by: .seconds(1))
    }

    mutating func note(_ unconfirmed: Int) {
        abandoned += unconfirmed
    }
}
