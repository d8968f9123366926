/// What a publisher does next: a value, which knows no clock, no task and no database. ``OutboxPublisher`` tells it what happened and
/// carries out what it says.
struct PublisherState {
    typealias Instant = ContinuousClock.Instant
    typealias LaneID = PublisherTraffic.LaneID
    typealias Input = PublisherInput
    typealias Action = PublisherAction

    private enum Phase {
        case opening
        case running
        case closing
        case finished
    }

    private let configuration: OutboxPublisher.Configuration
    private(set) var destinations: PublisherDestinations
    private var phase = Phase.opening
    private(set) var session = 0
    private var isOpen = false
    private var lanes = PublisherLanes()
    private var traffic = PublisherTraffic()
    private var reopening = PublisherReopening()
    private var poll: Duration
    private var isWaiting = false
    private var publisherCount = 1
    private var beats = PublisherBeats()
    /// Once the time for closing is over.
    private var ending: PublisherEnding?

    /// - Parameter destinations: How many events a batch for each has at most; ``ExactlyOnceDestination``s are named again, and those with
    ///   many places.
    init(
        _ configuration: OutboxPublisher.Configuration,
        destinations: [String: Int],
        exactlyOnce: Set<String> = [],
        manyPlaces: Set<String> = []
    ) {
        self.configuration = configuration
        self.destinations = PublisherDestinations(
            destinations,
            exactlyOnce: exactlyOnce,
            manyPlaces: manyPlaces,
            configuration.retry
        )
        self.poll = configuration.minimumPollInterval
    }

    /// When ``Input/timer`` has to come; nil where nothing is planned. What is due already waits for something else that is told.
    func deadline(after now: Instant) -> Instant? {
        if let ending { return ending.until }
        var times = isOpen && phase != .finished ? [beats.nextBalance, traffic.nextDeadline] : []
        if isOpen, phase == .running {
            times += [beats.nextMaintenance, lanes.nextRetry(after: now)] + destinations.availableAgain
        }
        return times.lazy.compactMap(\.self).filter { $0 > now }.min()
    }

    /// How many events are at destinations.
    var inFlight: Int { traffic.publishingCount }

    mutating func advance(_ input: Input, at now: Instant) -> [Action] {
        var actions: [Action] = []
        switch input {
        case .begin: actions.append(.open(session: session, after: .zero))
        case .opened(let keepAlive): open(keepAlive, at: now, &actions)
        case .failed(let error, let session): fail(error, session, at: now, &actions)
        case .balanced(let share, let session):
            if session == self.session { take(share, at: now, &actions) }
        case .maintained(let found, let session):
            if session == self.session { note(found, at: now, &actions) }
        case .read(let ticket, let events): noteRead(ticket, events, at: now, &actions)
        case .tookOver(let ticket, let writer, let last): noteTakeover(ticket, writer, last, &actions)
        case .notTakenOver(let ticket, let error): notTaken(ticket, error, at: now, &actions)
        case .noted(let ticket): publishOnce(ticket, at: now, &actions)
        case .published(let ticket, let outcomes, let places):
            notePublished(ticket, .init(outcomes), places, at: now, &actions)
        case .publishedOnce(let ticket, let result): notePublished(ticket, result, at: now, &actions)
        case .settled(let ticket):
            guard let batch = traffic.end(ticket) else { break }
            reopening.noteSettled()
            free(batch, &actions)
        case .waited(let hasCome, let session):
            guard session == self.session else { break }
            isWaiting = false
            poll = hasCome ? configuration.minimumPollInterval : min(poll * 2, configuration.maximumPollInterval)
            lanes.markAllDue()
        case .timer: break
        case .close: if phase != .finished { phase = .closing }
        case .closeNow: endSoon(at: now, &actions)
        case .end: finish(&actions)
        }
        plan(at: now, &actions)
        return actions
    }

    // MARK: Sessions

    private mutating func open(_ keepAlive: Duration, at now: Instant, _ actions: inout [Action]) {
        isOpen = true
        if phase == .opening { phase = .running }
        reopening.noteOpened(at: now)
        poll = configuration.minimumPollInterval
        beats.begin(keepAlive, at: now)
        actions += traffic.confirmed.map { .settle($0.ticket, $0.settlement) }
    }

    private mutating func fail(_ error: OutboxError, _ failed: Int, at now: Instant, _ actions: inout [Action]) {
        guard failed == session, phase != .finished else { return }
        let cannotWork = error.kind == .invalidConfiguration || error.kind == .schemaVersion
        if !reopening.hasEverOpened, cannotWork {
            phase = .finished
            actions.append(.fail(error))
            return
        }
        leave(error, for: reopening.pause(wasSettling: isOpen && traffic.isSettling, at: now), &actions)
    }

    private mutating func leave(_ error: OutboxError, for time: Duration, _ actions: inout [Action]) {
        // Batches at their destinations go on: their lanes stay busy, so that nothing of them is sent beside itself.
        for batch in traffic.endSession(keepingConfirmedOf: phase == .closing ? session : nil) { free(batch, &actions) }
        release(lanes.endSession(), &actions)
        session += 1
        isOpen = false
        isWaiting = false
        actions.append(.tell(.sessionLost(error)))
        actions.append(.closeSession)
        // While it closes what is confirmed, now or yet, is to be deleted, or it would be sent again.
        if phase != .closing || !traffic.isEmpty { actions.append(.open(session: session, after: time)) }
    }

    private mutating func take(_ share: OutboxShare, at now: Instant, _ actions: inout [Action]) {
        beats.noteBalance(at: now)
        publisherCount = share.publishers
        lanes.note(surplus: share.surplus)
        guard share.slots != lanes.owned else { return }
        release(lanes.take(share.slots, for: destinations.names), &actions)
        actions.append(.tell(.slots(share.slots, publishers: share.publishers)))
    }

    private mutating func note(_ found: OutboxMaintenance, at now: Instant, _ actions: inout [Action]) {
        beats.noteMaintenance(at: now)
        actions.append(.tell(.maintained(found)))
        actions += destinations.unknown(among: found.destinations).map { .tell(.unknownDestination($0)) }
    }

    // MARK: Batches

    private mutating func free(_ batch: PublisherTraffic.Batch?, _ actions: inout [Action]) {
        release(lanes.free(batch), &actions)
    }

    private func release(_ writers: [any ExactlyOnceWriter], _ actions: inout [Action]) {
        actions += writers.map { .release($0) }
    }

    private mutating func noteRead(_ ticket: Int, _ events: [OutboxEvent], at now: Instant, _ actions: inout [Action]) {
        guard let batch = traffic.batches[ticket], case .reading(let begun, let limit) = batch.step else { return }
        if !events.isEmpty {
            poll = configuration.minimumPollInterval
            beats.noteRows()
        }
        var (events, bySlot) = lanes.noteRead(
            events,
            of: batch.lanes,
            begun: begun,
            limit: limit,
            maximumBytes: configuration.maximumBatchBytes,
            maximumWithheld: configuration.maximumWithheldKeys
        )
        guard !events.isEmpty, phase == .running else { return free(traffic.end(ticket), &actions) }
        if events.contains(where: { $0.defect != nil }) {
            // Rows that no destination takes are parked once they are the first of their key, and what is left is read again then:
            // what stands before them goes first, or it would come behind them where a person resumes them.
            let first = batch.lanes.flatMap { Self.defectsAtTheirHeads(bySlot[$0.slot] ?? []) }
            guard first.isEmpty else { return park(first, of: batch, ticket, &actions) }
            for id in batch.lanes {
                guard let own = bySlot[id.slot], own.contains(where: { $0.defect != nil }) else { continue }
                bySlot[id.slot] = own.prefix { $0.defect == nil }
                lanes[id]?.isDue = true
            }
            events = batch.lanes.flatMap { bySlot[$0.slot] ?? [] }
        }
        if destinations.storesOnce(batch.destination) {
            _ = traffic.end(ticket)
            for id in batch.lanes { beginOnce(id, Array(bySlot[id.slot] ?? []), of: batch, ticket, &actions) }
        } else {
            traffic.publish(events, ticket, until: now.advanced(by: configuration.batchTimeout))
            actions.append(.publish(ticket, destination: batch.destination, events))
        }
    }

    /// A slot's rows that no destination takes, and before which none of their key stands that one may take.
    private static func defectsAtTheirHeads(_ events: ArraySlice<OutboxEvent>) -> [OutboxEvent] {
        var sound: Set<PublisherLane.Subject> = []
        return events.filter { event in
            let subject = PublisherLane.Subject(event)
            if event.defect == nil { sound.insert(subject) }
            return event.defect != nil && !sound.contains(subject)
        }
    }

    /// Parks rows that no destination takes.
    private mutating func park(
        _ events: [OutboxEvent],
        of batch: PublisherTraffic.Batch,
        _ ticket: Int,
        _ actions: inout [Action]
    ) {
        var settlement = OutboxSettlement()
        for event in events {
            settlement.parked.append(configuration.retry.parking(event, attempts: 1, reason: event.defect ?? ""))
            actions.append(.tell(.parked(event, reason: event.defect ?? "", attempts: 1)))
        }
        for id in batch.lanes { lanes[id]?.isDue = true }
        traffic.set(.settling([]), ticket)
        actions.append(.settle(ticket, settlement))
    }

    private mutating func notePublished(
        _ ticket: Int,
        _ result: ExactlyOnceResult,
        _ places: [String?] = [],
        at now: Instant,
        _ actions: inout [Action]
    ) {
        guard let batch = traffic.batches[ticket], case .publishing(let events) = batch.step else { return }
        let all = result.outcomes(of: events)
        var isAway = false
        if result.isFaultOfBatch {
            lanes.holdBack(batch.lanes, configuration.retry, at: now)
        } else {
            isAway = destinations.note(all, places, of: batch.destination, at: now) { actions.append(.tell($0)) }
        }
        if let once = batch.once, let id = batch.lanes.first {
            let stored = all.allSatisfy(\.isAccepted) ? once.inflight.number : nil
            if lanes[id]?.noteStored(stored) != true { actions.append(.release(once.writer)) }
        }
        var settlement = lanes.note(all, of: events, batch, isAway: isAway, configuration.retry, at: now)
        // What was confirmed in an earlier session is true all the same, and may be deleted; to park is the slot's owner's.
        if batch.session != session || !isOpen { settlement.parked = [] }
        settlement.isOfEarlierSession = batch.session != session
        for parking in settlement.parked {
            actions.append(.tell(.parked(parking.event, reason: parking.reason, attempts: parking.attempts)))
        }
        ending?.note(events.count - settlement.accepted.count - settlement.parked.count)
        actions.append(.count(destination: batch.destination, events, all))
        if settlement.isEmpty || !isOpen || phase == .finished {
            free(traffic.end(ticket), &actions)
        } else {
            traffic.set(.settling(settlement.accepted), ticket)
            actions.append(.settle(ticket, settlement))
        }
        // Others may have a way to the destination that this publisher has not.
        if isAway, batch.isGivenUp, isOpen, publisherCount > 1, phase == .running {
            leave(.stuck, for: configuration.batchTimeout, &actions)
        }
    }

    // MARK: Exactly once

    /// Rows of one slot were read: they are noted, or the slot is taken over first, and they are read again.
    private mutating func beginOnce(
        _ id: LaneID,
        _ events: [OutboxEvent],
        of batch: PublisherTraffic.Batch,
        _ ticket: Int,
        _ actions: inout [Action]
    ) {
        guard let first = events.first else {
            lanes[id]?.isBusy = false
            return
        }
        guard let lane = lanes[id], let writer = lane.writer else {
            lanes[id]?.isDue = true
            let own = traffic.begin(id.destination, [id], session: session, .takingOver, of: ticket)
            actions.append(.takeOver(own, destination: id.destination, slot: id.slot))
            return
        }
        let (all, events) = (events, Array(events.prefix(max(writer.maximumBatchCount, 1))))
        if events.count < all.count { lanes[id]?.isDue = true }
        let inflight = lane.inflight(id, events, topic: first.message.topic)
        let own = traffic.begin(id.destination, [id], session: session, .noting(events), of: ticket)
        traffic.storeOnce(own, writer, inflight)
        actions.append(.note(own, inflight))
    }

    private mutating func noteTakeover(
        _ ticket: Int,
        _ writer: any ExactlyOnceWriter,
        _ last: Int64,
        _ actions: inout [Action]
    ) {
        guard phase == .running, let batch = traffic.batches[ticket], case .takingOver = batch.step,
            let id = batch.lanes.first, lanes[id] != nil
        else {
            actions.append(.release(writer))
            return free(traffic.end(ticket), &actions)
        }
        lanes[id]?.noteTakeover(writer, last)
        free(traffic.end(ticket), &actions)
    }

    private mutating func notTaken(_ ticket: Int, _ error: OutboxError, at now: Instant, _ actions: inout [Action]) {
        guard let batch = traffic.end(ticket) else { return }
        if error.recovery == .retry, !lanes.haveWriter(of: batch.destination) {
            let outcome = OutboxOutcome.unavailable(reason: error.reason)
            _ = destinations.note([outcome], of: batch.destination, at: now) { actions.append(.tell($0)) }
        } else {
            lanes.holdBack(batch.lanes, configuration.retry, at: now)
        }
        free(batch, &actions)
    }

    private mutating func publishOnce(_ ticket: Int, at now: Instant, _ actions: inout [Action]) {
        guard let batch = traffic.batches[ticket], case .noting(let events) = batch.step, let once = batch.once else {
            return
        }
        guard phase == .running else { return free(traffic.end(ticket), &actions) }
        traffic.publish(events, ticket, until: now.advanced(by: configuration.batchTimeout))
        actions.append(.publishOnce(ticket, writer: once.writer, events, once.inflight))
    }

    // MARK: What is next

    private mutating func plan(at now: Instant, _ actions: inout [Action]) {
        guard phase != .finished else { return }
        if phase == .closing, traffic.isEmpty || isOver(at: now) { return finish(&actions) }
        actions += traffic.giveUp(at: now).map { .cancel($0) }
        guard phase == .running || phase == .closing, isOpen else { return }
        if phase == .running, beats.takeMaintenance(at: now) { actions.append(.maintain) }
        // Also while it closes: without a word the session would end before what is under way is deleted, and that be sent again.
        if beats.takeBalance(at: now) {
            actions.append(phase == .closing ? .leave(busy: lanes.slotsUnderWay) : .balance(busy: lanes.busySlots))
        }
        guard phase == .running else { return }
        // Slots may be given back meanwhile: nothing of them is read.
        if !beats.isBalancing {
            lanes.chooseSlotsToGive()
            for name in destinations.names { planReads(name, at: now, &actions) }
        }
        if !isWaiting {
            isWaiting = true
            actions.append(.wait(atMost: poll))
        }
    }

    /// Whether the time for ending is over, also for what is being deleted.
    private mutating func isOver(at now: Instant) -> Bool {
        guard let ending, ending.until <= now else { return false }
        return !(traffic.isSettling && self.ending?.extend(at: now) == true)
    }

    private mutating func planReads(_ name: String, at now: Instant, _ actions: inout [Action]) {
        let maximumBatches = reopening.limit == nil ? configuration.maximumBatches : 1
        while traffic.count(name) < destinations.maximumBatches(of: name, maximumBatches, at: now) {
            let plan = PublisherReadPlan(
                lanes.own(of: name),
                of: name,
                maximumCount: min(destinations.maximumBatchCount(of: name), reopening.limit ?? .max),
                configuration,
                at: now
            )
            guard let plan else { return }
            lanes.begin(plan.lanes)
            let step = PublisherTraffic.Step.reading(begun: now, limitPerSlot: plan.request.limitPerSlot)
            let ticket = traffic.begin(name, plan.lanes, session: session, step)
            actions.append(.read(ticket, plan.request))
        }
    }

    private mutating func endSoon(at now: Instant, _ actions: inout [Action]) {
        guard phase != .finished, ending == nil else { return }
        phase = .closing
        ending = PublisherEnding(at: now)
        actions += traffic.giveUpAll().map { .cancel($0) }
    }

    private mutating func finish(_ actions: inout [Action]) {
        guard phase != .finished else { return }
        phase = .finished
        // Of what is at a destination the writers end with their tasks.
        release(lanes.endSession(), &actions)
        actions.append(.closeSession)
        actions.append(.finish(abandoned: traffic.publishingCount + (ending?.abandoned ?? 0)))
    }
}
