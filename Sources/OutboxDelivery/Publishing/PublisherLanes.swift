/// Which slots are owned, and their lanes: each slot's rows for each destination.
struct PublisherLanes {
    typealias Instant = ContinuousClock.Instant
    typealias LaneID = PublisherTraffic.LaneID

    private(set) var owned: Set<Int> = []
    private var giving = SlotsToGive()
    private var lanes: [LaneID: PublisherLane] = [:]
    /// How often lanes were read.
    private var turns: UInt64 = 0

    subscript(id: LaneID) -> PublisherLane? {
        get { lanes[id] }
        set { lanes[id] = newValue }
    }

    /// Slots that are not to be given back.
    var busySlots: Set<Int> { Set(lanes.filter { $0.value.isBusy || $0.value.keepsSlot }.map(\.key.slot)) }

    /// Slots with rows in flight.
    var slotsUnderWay: Set<Int> { Set(lanes.filter(\.value.isBusy).map(\.key.slot)) }

    /// When the next retry is due that is not due yet.
    func nextRetry(after now: Instant) -> Instant? {
        lanes.values.lazy.compactMap { $0.isBusy ? nil : $0.nextRetry(after: now) }.min()
    }

    /// Those of a destination whose slots are owned.
    func own(of destination: String) -> [LaneID: PublisherLane] {
        lanes.filter {
            $0.key.destination == destination && owned.contains($0.key.slot)
                && !giving.slots.contains($0.key.slot)
        }
    }

    /// Whether a slot's rows for a destination are written through something that works as far as is known.
    func haveWriter(of destination: String) -> Bool {
        lanes.contains { $0.key.destination == destination && $0.value.writer != nil }
    }

    /// Their slots could not be taken over.
    mutating func holdBack(_ ids: [LaneID], _ retry: OutboxRetry, at now: Instant) {
        for id in ids { lanes[id]?.holdBack(retry, at: now) }
    }

    mutating func markAllDue() {
        for id in lanes.keys { lanes[id]?.isDue = true }
    }

    /// The session was balanced, and so many of its slots are due to others.
    mutating func note(surplus: Int) {
        giving.note(surplus: surplus)
    }

    /// Chooses which slots are not read, for they are due to others.
    mutating func chooseSlotsToGive() {
        guard giving.surplus > 0 else { return }
        let kept = Set(lanes.filter(\.value.keepsSlot).map(\.key.slot))
        giving.choose(among: owned.subtracting(kept), busy: slotsUnderWay)
    }

    /// These are read together.
    mutating func begin(_ ids: [LaneID]) {
        turns &+= 1
        for id in ids {
            lanes[id]?.lastTurn = turns
            lanes[id]?.isBusy = true
            lanes[id]?.isDue = false
        }
    }

    /// The session owns these slots now.
    ///
    /// - Returns: Writers of slots that were given back.
    mutating func take(_ slots: Set<Int>, for destinations: [String]) -> [any ExactlyOnceWriter] {
        let gone = lanes.filter { !slots.contains($0.key.slot) && !$0.value.isBusy }
        for id in gone.keys { lanes[id] = nil }
        owned = slots
        for slot in slots {
            for destination in destinations {
                let id = LaneID(slot: slot, destination: destination)
                if lanes[id] == nil { lanes[id] = PublisherLane() }
            }
        }
        return gone.values.compactMap(\.writer)
    }

    /// A batch is done with.
    ///
    /// - Returns: The writers of its slots that are not owned any more.
    mutating func free(_ batch: PublisherTraffic.Batch?) -> [any ExactlyOnceWriter] {
        var writers: [any ExactlyOnceWriter] = []
        for id in batch?.lanes ?? [] {
            if owned.contains(id.slot) {
                lanes[id]?.isBusy = false
            } else if let lane = lanes.removeValue(forKey: id), let writer = lane.writer {
                writers.append(writer)
            }
        }
        return writers
    }

    /// Nothing is owned any more. Lanes with a batch at its destination stay, so that nothing of them is sent beside itself; their
    /// writers have that batch to finish, and begin no other.
    ///
    /// - Returns: The writers that have nothing to finish.
    mutating func endSession() -> [any ExactlyOnceWriter] {
        owned = []
        giving = SlotsToGive()
        let writers = lanes.values.filter { !$0.isBusy }.compactMap(\.writer)
        lanes = lanes.filter(\.value.isBusy).mapValues { lane in
            var lane = lane
            lane.writer = nil
            return lane
        }
        return writers
    }

    /// Lanes were read together.
    ///
    /// - Parameters:
    ///   - begun: When the read began.
    ///   - limit: How many rows each may have had.
    ///   - maximumBytes: And about how many bytes all together.
    ///   - maximumWithheld: How many keys of each may wait.
    /// - Returns: What is published of it now, and that of each slot.
    mutating func noteRead(
        _ events: [OutboxEvent],
        of ids: [LaneID],
        begun: Instant,
        limit: Int,
        maximumBytes: Int,
        maximumWithheld: Int
    ) -> (events: [OutboxEvent], bySlot: [Int: ArraySlice<OutboxEvent>]) {
        var bySlot = events.slots
        let bytes = maximumBytes / max(ids.count, 1)
        var isAll = true
        for id in ids {
            let own = bySlot[id.slot] ?? []
            // As many rows as it may, or as many bytes: then there may be more.
            let isComplete = own.count < limit && own.reduce(0, { $0 + $1.weight }) < bytes / 2
            let kept = lanes[id]?.noteRead(
                own,
                begun: begun,
                isComplete: isComplete,
                maximumWithheld: maximumWithheld
            )
            guard let kept, kept.count < own.count else { continue }
            bySlot[id.slot] = kept
            isAll = false
        }
        return (isAll ? events : ids.flatMap { bySlot[$0.slot] ?? [] }, bySlot)
    }

    /// Takes note of what became of a batch.
    ///
    /// - Parameter isAway: Whether none of it had a verdict, and the destination is away.
    /// - Returns: What is to be deleted and parked.
    mutating func note(
        _ outcomes: [OutboxOutcome],
        of events: [OutboxEvent],
        _ batch: PublisherTraffic.Batch,
        isAway: Bool,
        _ retry: OutboxRetry,
        at now: Instant
    ) -> OutboxSettlement {
        var settlement = OutboxSettlement()
        settlement.accepted.reserveCapacity(events.count)
        var stopped: [Int: Set<PublisherLane.Subject>] = [:]
        var index = 0
        let count = min(events.count, outcomes.count)
        // A run of one slot's events at a time: its lane is looked up once, and taken out, so that it is changed in place.
        while index < count {
            let slot = events[index].id.slot
            let id = LaneID(slot: slot, destination: batch.destination)
            let known = lanes.removeValue(forKey: id)
            var lane = known ?? PublisherLane()
            var stoppedOfSlot = stopped.removeValue(forKey: slot) ?? []
            while index < count, events[index].id.slot == slot {
                let (event, outcome) = (events[index], outcomes[index])
                index += 1
                if !isAway, batch.once == nil || !outcome.isUnavailable {
                    switch lane.note(outcome, of: event, retry, stopped: &stoppedOfSlot, at: now) {
                    case .accepted:
                        settlement.accepted.append(event)
                        continue
                    case .parked(let attempts, let reason):
                        settlement.parked.append(retry.parking(event, attempts: attempts, reason: reason))
                    case .waits, .follows: break
                    }
                }
                // Read again: after the wait, or behind what is parked, or, where nothing is wrong with it but that another one of its
                // transaction was refused, at once.
                lane.isDue = true
            }
            if known != nil { lanes[id] = lane }
            if !stoppedOfSlot.isEmpty { stopped[slot] = stoppedOfSlot }
        }
        return settlement
    }
}

extension OutboxOutcome {
    fileprivate var isUnavailable: Bool {
        if case .unavailable = self { true } else { false }
    }
}

extension OutboxRetry {
    /// An event that is given up.
    func parking(_ event: OutboxEvent, attempts: Int, reason: String) -> OutboxSettlement.Parking {
        OutboxSettlement.Parking(
            event: event,
            attempts: attempts,
            reason: reason,
            withFollowers: givingUp == .parkKey
        )
    }
}
