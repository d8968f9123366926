/// When a session gets its next word, and is looked after next. One call of each is under way at a time.
struct PublisherBeats {
    typealias Instant = ContinuousClock.Instant

    private var interval = Duration.seconds(1)
    private(set) var nextBalance: Instant?
    private(set) var nextMaintenance: Instant?
    private(set) var isBalancing = false
    private var isMaintaining = false
    /// Rows were read since the last maintenance.
    private var hasRead = false

    /// A session is open: both are due.
    mutating func begin(_ keepAlive: Duration, at now: Instant) {
        interval = min(keepAlive, .seconds(1))
        (nextBalance, nextMaintenance) = (now, now)
        (isBalancing, isMaintaining) = (false, false)
    }

    mutating func noteRows() {
        hasRead = true
    }

    mutating func noteBalance(at now: Instant) {
        isBalancing = false
        nextBalance = now.advanced(by: interval)
    }

    mutating func noteMaintenance(at now: Instant) {
        isMaintaining = false
        // What is published leaves dead rows, which are read again until the floor is past them.
        nextMaintenance = now.advanced(by: hasRead ? .milliseconds(250) : .seconds(1))
        hasRead = false
    }

    /// Whether the session is to be balanced now; that is under way then.
    mutating func takeBalance(at now: Instant) -> Bool {
        guard !isBalancing, let next = nextBalance, next <= now else { return false }
        isBalancing = true
        return true
    }

    /// Whether the store is to be looked after now; that is under way then.
    mutating func takeMaintenance(at now: Instant) -> Bool {
        guard !isMaintaining, let next = nextMaintenance, next <= now else { return false }
        isMaintaining = true
        return true
    }
}
