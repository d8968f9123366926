/// One slot's rows for one destination: at most one batch of them is under way.
struct PublisherLane {
    typealias Instant = ContinuousClock.Instant

    /// What is kept in order: a key, or a row without one.
    enum Subject: Hashable {
        case key([UInt8])
        case number(Int64)

        init(_ event: OutboxEvent) {
            self = event.message.key.map { .key($0) } ?? .number(event.id.number)
        }
    }

    /// A key, or a row, that waits for its next attempt.
    private struct Waiting {
        /// The event at its head, to which the attempts belong.
        var number: Int64
        var origin: OutboxEvent.Origin
        /// Verdicts on the event itself.
        var attempts = 0
        /// Attempts that came to nothing since the last verdict.
        var failures = 0
        /// How often there was no place for it, and since when.
        var misses = 0
        var missing: Instant?
        var due: Instant
    }

    /// A batch is being read, published or settled.
    var isBusy = false
    /// There may be rows that were not read.
    var isDue = true
    /// The last read found as many rows as it may: there are more.
    var isHot = false
    /// When it was read last, in the publisher's count of reads; 0 for never.
    var lastTurn: UInt64 = 0
    /// Where the destination stores batches exactly once: what the slot is written through; nil until it is taken over.
    var writer: (any ExactlyOnceWriter)?
    /// The number of the last batch that was noted or stored.
    var lastNumber: Int64 = 0
    private var waiting: [Subject: Waiting] = [:]
    /// Where its slot could not be taken over, or a batch was at fault itself: how many times since one was stored, and until when nothing
    /// of it is read.
    private var held: (failures: Int, until: Instant)?

    /// Whether a retry keeps the slot from being given back: after a verdict, of which another publisher knows nothing. What has no answer
    /// is tried for ever, by whichever publisher has the slot.
    var keepsSlot: Bool { waiting.values.contains { $0.failures == 0 } }

    /// When the next retry is due that is not due yet.
    func nextRetry(after now: Instant) -> Instant? {
        let retry = waiting.isEmpty ? nil : waiting.values.lazy.map(\.due).filter { $0 > now }.min()
        guard let held, held.until > now else { return retry }
        return min(retry ?? held.until, held.until)
    }

    /// Its slot was taken over: batches are numbered from the next one on.
    mutating func noteTakeover(_ writer: any ExactlyOnceWriter, _ last: Int64) {
        self.writer = writer
        lastNumber = last
    }

    /// The note of a batch: of what is sent, and of no more, for what it names is deleted together.
    func inflight(_ id: PublisherTraffic.LaneID, _ events: [OutboxEvent], topic: String) -> OutboxInflight {
        OutboxInflight(
            slot: id.slot,
            destination: id.destination,
            number: lastNumber < .max ? lastNumber + 1 : .max,
            topic: topic,
            rows: events.map(\.id.number)
        )
    }

    /// What became of a batch that was noted.
    ///
    /// - Parameter number: Its number; nil where it was not stored.
    /// - Returns: Whether the next one goes through the same writer.
    mutating func noteStored(_ number: Int64?) -> Bool {
        guard let number, writer != nil else {
            writer = nil
            return false
        }
        lastNumber = number
        held = nil
        return true
    }

    /// Its slot could not be taken over, or a batch of it was at fault: that is tried again later, and other lanes go on.
    mutating func holdBack(_ retry: OutboxRetry, at now: Instant) {
        let failures = min((held?.failures ?? 0) + 1, 62)
        let wait = OutboxBackoff.wait(after: failures, first: retry.delay, longest: retry.maximumDelay)
        held = (failures, now.advanced(by: wait))
        isDue = true
    }

    func wantsReading(at now: Instant, maximumWithheld: Int) -> Bool {
        guard !isBusy, held.map({ $0.until <= now }) ?? true else { return false }
        if waiting.isEmpty { return isDue }
        let isRetryDue = waiting.values.contains { $0.due <= now }
        // More keys than a statement should name wait: nothing is read until one of them is due.
        return isRetryDue || (isDue && waiting.count <= maximumWithheld)
    }

    /// Keys and rows that are not to be read yet.
    func withheld(at now: Instant) -> (keys: Set<[UInt8]>, numbers: Set<Int64>) {
        var keys: Set<[UInt8]> = []
        var numbers: Set<Int64> = []
        for (subject, entry) in waiting where entry.due > now {
            switch subject {
            case .key(let key): keys.insert(key)
            case .number(let number): numbers.insert(number)
            }
        }
        return (keys, numbers)
    }

    /// How many rows are worth reading: as many as are due, where more wait than are allowed; else nil.
    func readLimit(at now: Instant, maximumWithheld: Int) -> Int? {
        waiting.count > maximumWithheld ? waiting.values.count { $0.due <= now } : nil
    }

    /// A read that began then returned these rows.
    ///
    /// - Returns: Those that are published now: where more wait than are allowed none of the others is begun with.
    mutating func noteRead(
        _ events: ArraySlice<OutboxEvent>,
        begun: Instant,
        isComplete: Bool,
        maximumWithheld: Int
    ) -> ArraySlice<OutboxEvent> {
        isHot = !isComplete
        if isHot { isDue = true }
        if waiting.values.contains(where: { $0.due <= begun }) {
            // Those that are gone, because a person deleted the row, wait for nothing any more: all that is before the last row was read.
            let seen = Set(events.map(Subject.init))
            let last = events.last { $0.origin == .outbox }?.id.number ?? .min
            waiting = waiting.filter { subject, entry in
                let isRead = isComplete || (entry.origin == .outbox && entry.number < last)
                return entry.due > begun || seen.contains(subject) || !isRead
            }
        }
        guard waiting.count > maximumWithheld else { return events }
        let known = events.filter { waiting[Subject($0)] != nil }
        // Where none of them is due others stand before those that are, written by a transaction that was committed late.
        guard !known.isEmpty, known.count < events.count else { return events }
        isDue = true
        return known[...]
    }

    /// What an outcome comes to.
    enum Verdict {
        case accepted
        case parked(attempts: Int, reason: String)
        /// Again later.
        case waits
        /// One with its key that came before it waits or is parked: nothing is said about this one.
        case follows
    }

    /// Takes note of an event's outcome.
    ///
    /// - Parameter stopped: Subjects of which an earlier event of the same batch was not accepted.
    mutating func note(
        _ outcome: OutboxOutcome,
        of event: OutboxEvent,
        _ retry: OutboxRetry,
        stopped: inout Set<Subject>,
        at now: Instant
    ) -> Verdict {
        // What nearly all come to.
        if outcome.isAccepted, waiting.isEmpty, stopped.isEmpty { return .accepted }
        let subject = Subject(event)
        if outcome.isAccepted {
            // A follower of an event that was not accepted counts as it is: it is stored.
            if !stopped.contains(subject) { waiting[subject] = nil }
            return .accepted
        }
        guard stopped.insert(subject).inserted else { return .follows }
        var entry = Waiting(number: event.id.number, origin: event.origin, due: now)
        if let known = waiting[subject], known.number == event.id.number { entry = known }
        var after: Duration?
        switch outcome {
        case .accepted: return .accepted
        case .rejected(let reason, let isRetriable, let retryAfter):
            entry.attempts += 1
            entry.failures = 0
            if !isRetriable || entry.attempts >= max(retry.maximumAttempts, 1) {
                waiting[subject] = nil
                return .parked(attempts: entry.attempts + entry.misses, reason: reason)
            }
            after = retryAfter
        case .unroutable(let reason):
            entry.misses += 1
            entry.failures = 0
            let since = entry.missing ?? now
            entry.missing = since
            if entry.misses >= max(retry.maximumAttempts, 1), now >= since.advanced(by: retry.unroutablePatience) {
                waiting[subject] = nil
                return .parked(attempts: entry.attempts + entry.misses, reason: reason)
            }
        case .unknown: entry.failures += 1
        case .unavailable(_, let retryAfter):
            entry.failures += 1
            after = retryAfter
        }
        let usual = OutboxBackoff.wait(
            after: max(entry.attempts, entry.failures, entry.misses),
            first: retry.delay,
            longest: retry.maximumDelay
        )
        // Where the destination asks for less, or for nothing, that is not asked sooner.
        entry.due = now.advanced(by: min(max(after ?? .zero, usual), retry.maximumDelay))
        waiting[subject] = entry
        return .waits
    }
}
