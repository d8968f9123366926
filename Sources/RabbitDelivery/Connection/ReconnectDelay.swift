/// How long to wait before connecting again. A value.
struct ReconnectDelay {
    private let minimum: Duration
    private let maximum: Duration
    private var attempts = 0

    init(minimum: Duration, maximum: Duration) {
        self.minimum = minimum
        self.maximum = maximum
    }

    /// Doubled each time, and drawn from its upper half, so that many clients do not come at once.
    mutating func next() -> Duration {
        let doubled = minimum * Double(UInt64(1) << UInt64(min(attempts, 40)))
        attempts += 1
        return min(doubled, maximum) * Double.random(in: 0.5...1)
    }

    /// A connection held.
    mutating func reset() {
        attempts = 0
    }
}

/// When to say something and when to give the other side up (AMQP 0-9-1, 4.2.7). A value.
struct Heartbeats {
    /// Nil where none were agreed on.
    private let interval: Duration?
    private var lastReceived: Moment
    private var lastSent: Moment

    init(seconds: Int, at now: Moment) {
        interval = seconds > 0 ? .seconds(seconds) : nil
        lastReceived = now
        lastSent = now
    }

    /// Bytes arrived, of whatever kind.
    mutating func noteReceived(at now: Moment) { lastReceived = now }

    /// Bytes were sent.
    mutating func noteSent(at now: Moment) { lastSent = now }

    /// Whether to say that we live.
    func isDue(at now: Moment) -> Bool {
        guard let interval else { return false }
        return lastSent.duration(to: now) >= interval / 2
    }

    /// Whether the other side has said nothing for twice the interval.
    func isSilent(at now: Moment) -> Bool {
        guard let interval else { return false }
        return lastReceived.duration(to: now) >= interval * 2
    }

    /// When to look again.
    ///
    /// - Parameter isWriting: Whether bytes wait to be sent. A heartbeat cannot go out before them, and the socket says when they can:
    ///   its own moment would be over, and end every sleep at once.
    func next(isWriting: Bool) -> Moment? {
        guard let interval else { return nil }
        let silence = lastReceived.advanced(by: interval * 2)
        return isWriting ? silence : min(lastSent.advanced(by: interval / 2), silence)
    }
}
