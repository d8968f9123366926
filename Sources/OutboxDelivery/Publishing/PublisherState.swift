/// What a publisher does next: a value, which knows no clock, no task and no database. ``OutboxPublisher`` tells it what happened and
/// carries out what it says.
struct PublisherState {
    typealias Instant = ContinuousClock.Instant
    typealias LaneID = PublisherTraffic.LaneID

    /// What happened.
    enum Input {
        case begin
        /// A session is open, which is owed a word so often.
        case opened(keepAlive: Duration)
        /// Opening one failed, or the session did.
        case failed(OutboxError, session: Int)
        case balanced(OutboxShare, session: Int)
        case maintained(OutboxMaintenance, session: Int)
        case read(Int, [OutboxEvent])
        case published(Int, [OutboxOutcome])
        case settled(Int)
        /// Waiting for work ended: something came, or the time was over.
        case waited(Bool, session: Int)
        case timer
        case close
        /// The time for closing is over.
        case closeNow
    }

    /// What to do.
    enum Action {
        case open(session: Int, after: Duration)
        case balance(busy: Set<Int>)
        case maintain
        case read(Int, OutboxReadRequest)
        case publish(Int, destination: String, [OutboxEvent])
        case settle(Int, OutboxSettlement)
        case wait(atMost: Duration)
        case closeSession
        case tell(OutboxPublisher.Event)
        /// What became of a batch, for metrics.
        case count(destination: String, [OutboxEvent], [OutboxOutcome])
        case fail(OutboxError)
        case finish(abandoned: Int)
    }

    private enum Phase {
        case opening
        case running
        case closing
        case finished
    }

    private let configuration: OutboxPublisher.Configuration
    private var destinations: PublisherDestinations
    private var phase = Phase.opening
    private(set) var session = 0
    private var hasEverOpened = false
    private var isOpen = false
    private(set) var owned: Set<Int> = []
    private var lanes: [LaneID: PublisherLane] = [:]
    private var traffic = PublisherTraffic()
    private var reopening: OutboxBackoff
    private var poll: Duration
    private var isWaiting = false
    private var isBalancing = false
    private var isMaintaining = false
    private var beatInterval = Duration.seconds(1)
    private var nextBalance: Instant?
    private var nextMaintenance: Instant?
    private var unknownDestinations: Set<String> = []

    init(_ configuration: OutboxPublisher.Configuration, destinations: [String: Int]) {
        self.configuration = configuration
        self.destinations = PublisherDestinations(destinations, configuration.retry)
        self.reopening = OutboxBackoff(first: .milliseconds(50), longest: .seconds(5))
        self.poll = configuration.minimumPollInterval
    }

    /// When ``Input/timer`` has to come; nil where nothing is planned. What is due already waits for something else that is told.
    func deadline(after now: Instant) -> Instant? {
        guard phase == .running, isOpen else { return nil }
        let waits = destinations.availableAgain
        let retries = lanes.values.compactMap { $0.isBusy ? nil : $0.nextRetry(after: now) }
        return ([nextBalance, nextMaintenance].compactMap(\.self) + waits + retries).filter { $0 > now }.min()
    }

    /// How many events are at destinations.
    var inFlight: Int { traffic.publishingCount }

    mutating func advance(_ input: Input, at now: Instant) -> [Action] {
        var actions: [Action] = []
        switch input {
        case .begin: actions.append(.open(session: session, after: .zero))
        case .opened(let keepAlive): open(keepAlive, at: now)
        case .failed(let error, let session): fail(error, session, &actions)
        case .balanced(let share, let session):
            if session == self.session { take(share, at: now, &actions) }
        case .maintained(let found, let session):
            if session == self.session { note(found, at: now, &actions) }
        case .read(let ticket, let events): noteRead(ticket, events, at: now, &actions)
        case .published(let ticket, let outcomes): notePublished(ticket, outcomes, at: now, &actions)
        case .settled(let ticket): free(traffic.end(ticket))
        case .waited(let hasCome, let session):
            guard session == self.session else { break }
            isWaiting = false
            poll = hasCome ? configuration.minimumPollInterval : min(poll * 2, configuration.maximumPollInterval)
            for id in lanes.keys { lanes[id]?.isDue = true }
        case .timer: break
        case .close: if phase != .finished { phase = .closing }
        case .closeNow: finish(&actions)
        }
        plan(at: now, &actions)
        return actions
    }

    // MARK: Sessions

    private mutating func open(_ keepAlive: Duration, at now: Instant) {
        hasEverOpened = true
        isOpen = true
        if phase == .opening { phase = .running }
        reopening.reset()
        poll = configuration.minimumPollInterval
        beatInterval = min(keepAlive, .seconds(1))
        nextBalance = now
        nextMaintenance = now
    }

    private mutating func fail(_ error: OutboxError, _ failed: Int, _ actions: inout [Action]) {
        guard failed == session, phase != .finished else { return }
        let cannotWork = error.kind == .invalidConfiguration || error.kind == .schemaVersion
        if !hasEverOpened, cannotWork {
            phase = .finished
            actions.append(.fail(error))
            return
        }
        // Batches at their destinations go on: their lanes stay busy, so that nothing of them is sent beside itself.
        for batch in traffic.endSession() { free(batch) }
        session += 1
        isOpen = false
        isWaiting = false
        isBalancing = false
        isMaintaining = false
        owned = []
        lanes = lanes.filter(\.value.isBusy)
        actions.append(.tell(.sessionLost(error)))
        actions.append(.closeSession)
        if phase != .closing { actions.append(.open(session: session, after: reopening.next())) }
    }

    private mutating func take(_ share: OutboxShare, at now: Instant, _ actions: inout [Action]) {
        isBalancing = false
        nextBalance = now.advanced(by: beatInterval)
        guard share.slots != owned else { return }
        for slot in owned.subtracting(share.slots) {
            lanes = lanes.filter { $0.key.slot != slot || $0.value.isBusy }
        }
        owned = share.slots
        for slot in owned {
            for destination in destinations.names {
                let id = LaneID(slot: slot, destination: destination)
                if lanes[id] == nil { lanes[id] = PublisherLane() }
            }
        }
        actions.append(.tell(.slots(owned, publishers: share.publishers)))
    }

    private mutating func note(_ found: OutboxMaintenance, at now: Instant, _ actions: inout [Action]) {
        isMaintaining = false
        nextMaintenance = now.advanced(by: .seconds(1))
        actions.append(.tell(.maintained(found)))
        for name in found.destinations.sorted() where !destinations.names.contains(name) {
            if unknownDestinations.count < 100, unknownDestinations.insert(name).inserted {
                actions.append(.tell(.unknownDestination(name)))
            }
        }
    }

    // MARK: Batches

    private mutating func free(_ batch: PublisherTraffic.Batch?) {
        for id in batch?.lanes ?? [] {
            if owned.contains(id.slot) { lanes[id]?.isBusy = false } else { lanes[id] = nil }
        }
    }

    private mutating func noteRead(_ ticket: Int, _ events: [OutboxEvent], at now: Instant, _ actions: inout [Action]) {
        guard let batch = traffic.batches[ticket], case .reading(let begun, let limit) = batch.step else { return }
        if !events.isEmpty { poll = configuration.minimumPollInterval }
        let bySlot = Dictionary(grouping: events, by: \.id.slot)
        let bytes = configuration.maximumBatchBytes / max(batch.lanes.count, 1)
        for id in batch.lanes {
            let own = bySlot[id.slot] ?? []
            // As many rows as it may, or as many bytes: then there may be more.
            let isComplete = own.count < limit && own.reduce(0, { $0 + $1.weight }) < bytes / 2
            lanes[id]?.noteRead(own, begun: begun, isComplete: isComplete)
        }
        guard !events.isEmpty, phase == .running else { return free(traffic.end(ticket)) }
        let sound = events.filter { $0.defect == nil }
        if sound.count == events.count {
            traffic.set(.publishing(events), ticket)
            actions.append(.publish(ticket, destination: batch.destination, events))
        } else {
            // Rows that nobody can deliver are parked first; what is left is read again then.
            var settlement = OutboxSettlement()
            for event in events where event.defect != nil {
                settlement.parked.append(parking(event, attempts: 1, reason: event.defect ?? ""))
                actions.append(.tell(.parked(event, reason: event.defect ?? "", attempts: 1)))
            }
            for id in batch.lanes { lanes[id]?.isDue = true }
            traffic.set(.settling, ticket)
            actions.append(.settle(ticket, settlement))
        }
    }

    private func parking(_ event: OutboxEvent, attempts: Int, reason: String) -> OutboxSettlement.Parking {
        OutboxSettlement.Parking(
            event: event,
            attempts: attempts,
            reason: reason,
            withFollowers: configuration.retry.givingUp == .parkKey
        )
    }

    private mutating func notePublished(
        _ ticket: Int,
        _ outcomes: [OutboxOutcome],
        at now: Instant,
        _ actions: inout [Action]
    ) {
        guard let batch = traffic.batches[ticket], case .publishing(let events) = batch.step else { return }
        let missing = OutboxOutcome.unknown(reason: "the destination gave no outcome")
        let all = events.indices.map { $0 < outcomes.count ? outcomes[$0] : missing }
        let isOfThisSession = batch.session == session && isOpen
        var settlement = OutboxSettlement()
        let isAway = destinations.note(all, of: batch.destination, at: now) { actions.append(.tell($0)) }
        var stopped: [Int: Set<PublisherLane.Subject>] = [:]
        for (event, outcome) in zip(events, all) {
            let id = LaneID(slot: event.id.slot, destination: batch.destination)
            if isAway {
                lanes[id]?.isDue = true
                continue
            }
            var lane = lanes[id] ?? PublisherLane()
            let verdict = lane.note(
                outcome,
                of: event,
                configuration.retry,
                stopped: &stopped[event.id.slot, default: []],
                at: now
            )
            if lanes[id] != nil { lanes[id] = lane }
            switch verdict {
            case .accepted: settlement.accepted.append(event)
            case .parked(let attempts, let reason) where isOfThisSession:
                settlement.parked.append(parking(event, attempts: attempts, reason: reason))
                actions.append(.tell(.parked(event, reason: reason, attempts: attempts)))
                // Its followers are read again, and found to be held back.
                lanes[id]?.isDue = true
            case .parked, .waits, .follows: lanes[id]?.isDue = true
            }
        }
        actions.append(.count(destination: batch.destination, events, all))
        if settlement.isEmpty || !isOpen || phase == .finished {
            free(traffic.end(ticket))
        } else {
            // What was confirmed in an earlier session is true all the same, and may be deleted.
            traffic.set(.settling, ticket)
            actions.append(.settle(ticket, settlement))
        }
    }

    // MARK: What is next

    private mutating func plan(at now: Instant, _ actions: inout [Action]) {
        guard phase != .finished else { return }
        if phase == .closing {
            if traffic.isEmpty { finish(&actions) }
            return
        }
        guard phase == .running, isOpen else { return }
        if !isMaintaining, let next = nextMaintenance, next <= now {
            isMaintaining = true
            actions.append(.maintain)
        }
        if !isBalancing, let next = nextBalance, next <= now {
            isBalancing = true
            let busy = lanes.filter { $0.value.isBusy || $0.value.isWaiting }.map(\.key.slot)
            actions.append(.balance(busy: Set(busy)))
        }
        // Slots may be given back meanwhile: nothing of them is read.
        if !isBalancing {
            for name in destinations.names { planReads(name, at: now, &actions) }
        }
        if !isWaiting {
            isWaiting = true
            actions.append(.wait(atMost: poll))
        }
    }

    private mutating func planReads(_ name: String, at now: Instant, _ actions: inout [Action]) {
        let maximum = destinations.maximumBatches(of: name, configuration.maximumBatches, at: now)
        let maximumCount = destinations.maximumBatchCount(of: name)
        while traffic.count(name) < maximum {
            var wanting = lanes.filter { id, lane in
                id.destination == name && owned.contains(id.slot)
                    && lane.wantsReading(at: now, maximumWithheld: configuration.maximumWithheldKeys)
            }.map { (id: $0.key, isHot: $0.value.isHot) }
            guard !wanting.isEmpty else { return }
            // With a backlog half of the slots are read while the other half is published.
            let hasBacklog = wanting.contains(where: \.isHot)
            wanting.sort { ($0.isHot ? 0 : 1, $0.id.slot) < ($1.isHot ? 0 : 1, $1.id.slot) }
            let count = hasBacklog ? max(1, (owned.count + 1) / 2) : wanting.count
            let chosen = wanting.prefix(min(count, maximumCount)).map(\.id)
            let limit = max(1, maximumCount / chosen.count)
            var request = OutboxReadRequest(
                destination: name,
                slots: chosen.map(\.slot).sorted(),
                limitPerSlot: limit,
                maximumBytes: configuration.maximumBatchBytes
            )
            for id in chosen {
                let (keys, numbers) = lanes[id]?.withheld(at: now) ?? ([], [])
                if !keys.isEmpty { request.withheldKeys[id.slot] = keys }
                if !numbers.isEmpty { request.withheldNumbers[id.slot] = numbers }
                lanes[id]?.isBusy = true
                lanes[id]?.isDue = false
            }
            let step = PublisherTraffic.Step.reading(begun: now, limitPerSlot: limit)
            let ticket = traffic.begin(name, chosen, session: session, step)
            actions.append(.read(ticket, request))
        }
    }

    private mutating func finish(_ actions: inout [Action]) {
        guard phase != .finished else { return }
        phase = .finished
        actions.append(.closeSession)
        actions.append(.finish(abandoned: traffic.publishingCount))
    }
}
