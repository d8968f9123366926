/// What a lost session comes to: how long the publisher waits before it opens another one, and how much it reads there.
///
/// What a database can read and not delete, for its disk is full or a right was taken away, would be sent again and again. So after a
/// settlement that failed the pauses grow, and one row of a destination is read at a time, until settlements work; then four times as
/// many after each.
struct PublisherReopening {
    typealias Instant = ContinuousClock.Instant

    /// A session that was open for so long did work: the pauses begin anew.
    static let sound = Duration.seconds(5)

    private var lost = OutboxBackoff(first: .milliseconds(50), longest: .seconds(5))
    private var unsettled = OutboxBackoff(first: .milliseconds(50), longest: .seconds(30))
    /// When the session was opened that is open.
    private var opened: Instant?
    private(set) var hasEverOpened = false
    /// How many rows of a destination are read at a time; nil for as many as usual.
    private(set) var limit: Int?

    mutating func noteOpened(at now: Instant) {
        hasEverOpened = true
        opened = now
    }

    mutating func noteSettled() {
        limit = limit.flatMap { $0 < 64 ? $0 * 4 : nil }
        guard limit == nil else { return }
        lost.reset()
        unsettled.reset()
    }

    /// A session failed, or could not be opened.
    ///
    /// - Parameter wasSettling: Whether something was being deleted or parked, which may be what failed.
    /// - Returns: How long to wait before the next one.
    mutating func pause(wasSettling: Bool, at now: Instant) -> Duration {
        if let opened, opened.duration(to: now) >= Self.sound { lost.reset() }
        opened = nil
        let pause = lost.next()
        guard wasSettling else { return pause }
        limit = 1
        return max(pause, unsettled.next())
    }
}
