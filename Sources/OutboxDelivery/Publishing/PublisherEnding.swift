/// The time for closing is over: what is at destinations was cancelled, and has a moment to say what arrived all the same. That is
/// deleted then, and not sent again.
struct PublisherEnding {
    /// Until when it has.
    private(set) var until: ContinuousClock.Instant
    private var isExtended = false
    /// Events that came back without having been confirmed.
    private(set) var abandoned = 0

    init(at now: ContinuousClock.Instant) {
        until = now.advanced(by: .seconds(1))
    }

    /// Another moment, once, for what was said at the last one and is being deleted.
    ///
    /// - Returns: Whether there is one.
    mutating func extend(at now: ContinuousClock.Instant) -> Bool {
        guard !isExtended else { return false }
        isExtended = true
        until = now.advanced(by: .seconds(1))
        return true
    }

    mutating func note(_ unconfirmed: Int) {
        abandoned += unconfirmed
    }
}
