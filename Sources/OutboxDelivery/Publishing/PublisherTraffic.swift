/// Batches on their way, and the lanes that they belong to.
struct PublisherTraffic {
    typealias Instant = ContinuousClock.Instant

    struct LaneID: Hashable {
        let slot: Int
        let destination: String
    }

    enum Step {
        case reading(begun: Instant, limitPerSlot: Int)
        case takingOver
        case noting([OutboxEvent])
        case publishing([OutboxEvent])
        /// With those of its events that are confirmed.
        case settling([OutboxEvent])
    }

    struct Batch {
        let destination: String
        let lanes: [LaneID]
        /// Of which session the lanes were; what was read in an earlier one may be deleted when it is confirmed, and no more.
        let session: Int
        /// The ticket of the read that its rows came with.
        let origin: Int
        var step: Step
        /// When it is given up, while it is at its destination; nil where that was done.
        var deadline: Instant?
        /// It was given up, and its outcomes are to come.
        var isGivenUp = false
        /// Where it is stored exactly once.
        var once: (writer: any ExactlyOnceWriter, inflight: OutboxInflight)?
    }

    private(set) var batches: [Int: Batch] = [:]
    private var lastTicket = 0

    var isEmpty: Bool { batches.isEmpty }

    /// Whether something is being deleted or parked.
    var isSettling: Bool {
        batches.values.contains { if case .settling = $0.step { true } else { false } }
    }

    /// How many events are at destinations.
    var publishingCount: Int {
        batches.values.reduce(0) { count, batch in
            if case .publishing(let events) = batch.step { count + events.count } else { count }
        }
    }

    /// How many reads for a destination have rows, or may get some, that are not done with.
    func count(_ destination: String) -> Int {
        Set(batches.values.lazy.filter { $0.destination == destination }.map(\.origin)).count
    }

    /// - Parameter origin: The ticket of the read that its rows came with; nil for a read.
    mutating func begin(
        _ destination: String,
        _ lanes: [LaneID],
        session: Int,
        _ step: Step,
        of origin: Int? = nil
    ) -> Int {
        lastTicket += 1
        batches[lastTicket] = Batch(
            destination: destination,
            lanes: lanes,
            session: session,
            origin: origin ?? lastTicket,
            step: step
        )
        return lastTicket
    }

    mutating func storeOnce(_ ticket: Int, _ writer: any ExactlyOnceWriter, _ inflight: OutboxInflight) {
        batches[ticket]?.once = (writer, inflight)
    }

    mutating func set(_ step: Step, _ ticket: Int) {
        batches[ticket]?.step = step
        batches[ticket]?.deadline = nil
    }

    /// It goes to its destination.
    mutating func publish(_ events: [OutboxEvent], _ ticket: Int, until deadline: Instant) {
        batches[ticket]?.step = .publishing(events)
        batches[ticket]?.deadline = deadline
    }

    /// When the next batch is to be given up.
    var nextDeadline: Instant? { batches.values.lazy.compactMap(\.deadline).min() }

    /// Those whose time at their destination is over.
    ///
    /// - Returns: Their tickets, each once.
    mutating func giveUp(at now: Instant) -> [Int] {
        giveUp { $0 <= now }
    }

    /// All that are at their destination and were not given up.
    ///
    /// - Returns: Their tickets.
    mutating func giveUpAll() -> [Int] {
        giveUp { _ in true }
    }

    private mutating func giveUp(_ isOver: (Instant) -> Bool) -> [Int] {
        let overdue = batches.filter { $0.value.deadline.map(isOver) ?? false }.keys.sorted()
        for ticket in overdue {
            batches[ticket]?.deadline = nil
            batches[ticket]?.isGivenUp = true
        }
        return overdue
    }

    /// What is being settled: in a new session, what is still to be deleted of the one before.
    var confirmed: [(ticket: Int, settlement: OutboxSettlement)] {
        batches.sorted { $0.key < $1.key }.compactMap { ticket, batch in
            guard case .settling(let events) = batch.step else { return nil }
            var settlement = OutboxSettlement()
            settlement.accepted = events
            settlement.isOfEarlierSession = true
            return (ticket, settlement)
        }
    }

    mutating func end(_ ticket: Int) -> Batch? {
        batches.removeValue(forKey: ticket)
    }

    /// The session is gone, and with it what was being read or settled; what is at a destination stays.
    ///
    /// - Parameter kept: Of batches of this session what is confirmed stays too: it is to be deleted by the next one.
    mutating func endSession(keepingConfirmedOf kept: Int?) -> [Batch] {
        let gone = batches.filter { entry in
            switch entry.value.step {
            case .publishing: false
            case .settling(let confirmed): confirmed.isEmpty || entry.value.session != kept
            case .reading, .takingOver, .noting: true
            }
        }
        for ticket in gone.keys { batches[ticket] = nil }
        return Array(gone.values)
    }
}
