internal import DequeModule

/// The coarse clock that deliveries are stamped with, and by which is told how long the application has held them.
///
/// The consumer's thread moves it on every so often (a pulse), and handing out a message copies where it stands: nothing
/// on the way of a message asks the system for the time. A delivery that is stamped with one pulse was handed out before
/// the next; so it is found to be late not before it is, and at most two pulses after that.
struct StuckHandlerClock {
    typealias Instant = ContinuousClock.Instant

    /// Milliseconds since the consumer began. It wraps after 49 days, so stamps are compared by their difference.
    typealias Stamp = UInt32

    /// How long the application may hold a delivery; nil where that is not watched.
    let limit: Duration?
    /// How often to move the clock on; nil where nothing needs it.
    let interval: Duration?

    private let start: Instant
    /// Since a little longer than the limit.
    private var pulses: Deque<(instant: Instant, stamp: Stamp)> = []

    /// - Parameters:
    ///   - limit: How long the application may hold a delivery.
    ///   - otherInterval: How often metrics need the clock to move on.
    init(limit: Duration?, otherInterval: Duration? = nil, start: Instant = .now) {
        self.limit = limit
        self.interval = [limit.map { $0 / 4 }, otherInterval].compactMap(\.self).min()
        self.start = start
    }

    /// When the clock is to be moved on next; nil where it does not have to be.
    var next: Instant? {
        guard let interval else { return nil }
        return pulses.last.map { $0.instant.advanced(by: interval) } ?? start
    }

    /// Moves the clock on.
    ///
    /// - Returns: The stamp of what is handed out from now on.
    mutating func pulse(at now: Instant) -> Stamp {
        let (seconds, attoseconds) = start.duration(to: now).components
        let milliseconds = Stamp(truncatingIfNeeded: seconds &* 1_000 &+ attoseconds / 1_000_000_000_000_000)
        // Each pulse has a stamp of its own, whatever the clock's resolution.
        let stamp = pulses.last.map { Self.isBefore($0.stamp, milliseconds) ? milliseconds : $0.stamp &+ 1 }
        pulses.append((now, stamp ?? milliseconds))
        if let limit {
            let past = now.advanced(by: .zero - limit)
            while pulses.count > 1, pulses[1].instant <= past { pulses.removeFirst() }
        } else {
            pulses.removeFirst(pulses.count - 1)
        }
        return pulses[pulses.count - 1].stamp
    }

    /// What was stamped before this has been held for longer than the limit: the last pulse that is at least
    /// as long ago. Nil where there is none yet.
    func lateStamp(at now: Instant) -> Stamp? {
        guard let limit, let first = pulses.first, first.instant <= now.advanced(by: .zero - limit) else { return nil }
        return first.stamp
    }

    /// How long ago something was stamped, within a pulse.
    func age(of stamp: Stamp, at now: Instant) -> Duration {
        guard let last = pulses.last else { return .zero }
        return .milliseconds(Int64(last.stamp &- stamp)) + last.instant.duration(to: now)
    }

    static func isBefore(_ one: Stamp, _ other: Stamp) -> Bool {
        Int32(bitPattern: one &- other) < 0
    }
}
