internal import DeliveryCore
public import OutboxDelivery
internal import Synchronization

/// A publisher's work with PostgreSQL: one connection, whose advisory locks are the slots.
///
/// The lease is the server's: when the session ends, because its connection is gone or because it was silent for longer than the
/// session time-out, PostgreSQL lets go of the locks, and nothing that this publisher still sends there changes anything.
public final class PostgresSession: OutboxSession {
    private struct State {
        var owned: Set<Int> = []
        var floor = PostgresFloor()
        var parkedSlots = PostgresParkedSlots()
        var destinations: Set<String> = []
        /// Those whose rows are read slot by slot, for all at once took longer than a statement may.
        var long: Set<String?> = []
        /// How many more reads of a destination add up their bytes: one had a row that is larger than its part of a batch.
        var countedReads: [String: Int] = [:]
        var lastSweep: ContinuousClock.Instant
    }

    private let outbox: PostgresOutbox.Configuration
    private let connection: LibpqConnection
    private let reading: PostgresReading
    private let upkeep: PostgresUpkeep
    private let archive: PostgresArchive.Upkeep
    private let slots: PostgresSlots
    private let settling: PostgresSettling
    // Calls of the publisher, which may overlap, meet here. Not held while anything waits.
    private let state: Mutex<State>

    /// How often ``balance(busy:)`` has to be called: a third of the session time-out.
    public var keepAlive: Duration { outbox.sessionTimeout / 3 }

    init(
        _ outbox: PostgresOutbox.Configuration,
        _ connection: LibpqConnection,
        _ upkeep: PostgresUpkeep,
        _ prepared: PostgresCheck.Prepared,
        archive: PostgresArchive.Upkeep
    ) {
        self.outbox = outbox
        self.connection = connection
        self.slots = PostgresSlots(connection: connection, relation: prepared.relation, table: outbox.table)
        self.settling = PostgresSettling(
            table: outbox.table,
            archives: outbox.archiveDays != nil,
            isUTF8: prepared.isUTF8
        )
        self.reading = PostgresReading(table: outbox.table)
        self.upkeep = upkeep
        self.archive = archive
        self.state = Mutex(State(lastSweep: .now))
    }

    // MARK: Slots

    /// Takes slots up to its fair share, and gives back what is over it.
    public func balance(busy: Set<Int>) async throws(OutboxError) -> OutboxShare {
        let locks = try await lookAtLocks()
        guard locks.isMember else { throw PostgresLocks.fenced }
        return try await share(locks.fairShare, locks, busy: busy)
    }

    /// Gives back all that is not busy. Others then share all slots as if it was gone.
    public func leave(busy: Set<Int>) async throws(OutboxError) -> OutboxShare {
        let locks = try await lookAtLocks()
        let share = try await share(0, locks, busy: busy)
        if locks.isMember { try await slots.leave() }
        return share
    }

    private func lookAtLocks() async throws(OutboxError) -> PostgresLocks {
        let locks = try await slots.look()
        guard locks.isOfTable else { throw PostgresLocks.replaced }
        if locks.publishers > 1 { await slots.endThoseThatStandStill(for: outbox.sessionTimeout) }
        return locks
    }

    /// Gives slots back, or takes some, until it has so many.
    private func share(_ count: Int, _ locks: PostgresLocks, busy: Set<Int>) async throws(OutboxError) -> OutboxShare {
        var owned = state.withLock { $0.owned }
        guard owned.isSubset(of: locks.mine) else { throw PostgresLocks.fenced }
        let surplus = owned.subtracting(busy).shuffled().prefix(max(0, owned.count - count))
        if !surplus.isEmpty {
            try await slots.giveBack(surplus)
            owned.subtract(surplus)
        }
        let free = Set(0..<OutboxEvent.slotCount).subtracting(locks.taken).shuffled()
        let wanted = free.prefix(max(0, count - owned.count))
        var new: Set<Int> = []
        if !wanted.isEmpty {
            new = try await slots.take(wanted)
            owned.formUnion(new)
        }
        let now = owned
        state.withLock { state in
            state.owned = now
            for slot in surplus { state.floor.forget(slot: slot) }
            for slot in new { state.floor.forget(slot: slot) }
        }
        if !new.isEmpty { try await lookAtParked() }
        return OutboxShare(slots: now, publishers: locks.publishers, surplus: max(0, now.count - count))
    }

    // MARK: Rows

    /// Reads the first rows of slots: those that a person resumed first.
    public func read(_ request: OutboxReadRequest) async throws(OutboxError) -> [OutboxEvent] {
        let (floors, looksForHeld, isDecided) = state.withLock { state in
            state.destinations.insert(request.destination)
            return (
                request.slots.map { state.floor.of(PostgresFloor.Lane(slot: $0, destination: request.destination)) },
                !state.parkedSlots.parked.isDisjoint(with: request.slots),
                !state.parkedSlots.decided.isDisjoint(with: request.slots)
            )
        }
        var events: [OutboxEvent] = []
        if isDecided {
            let rows = try await connection.query(reading.resumed(request))
            for row in 0..<rows.count { events.append(try PostgresReading.event(rows, row, origin: .parked)) }
        }
        // Rows of keys that are held back are moved out of the way, and then what is behind them is read.
        while true {
            let held = try await append(request, floors, looksForHeld: looksForHeld, to: &events)
            if held.isEmpty { break }
            try await connection.query(settling.follow(held))
            // All of it again: an answer with fewer rows than were asked for says that there are no more.
            events.removeAll { $0.origin == .outbox }
        }
        // A slot's resumed rows come first; within each, by number, whatever plan PostgreSQL chose.
        let order: (OutboxEvent, OutboxEvent) -> Bool = { one, other in
            (one.id.slot, one.origin == .outbox ? 1 : 0, one.id.number)
                < (other.id.slot, other.origin == .outbox ? 1 : 0, other.id.number)
        }
        // Where they are: an event that is copied is a dozen references counted.
        if !events.indices.dropFirst().allSatisfy({ order(events[$0 - 1], events[$0]) }) { events.sort(by: order) }
        return events
    }

    /// Reads the first rows of slots.
    ///
    /// - Returns: Those whose key is held back, which are not appended.
    private func append(
        _ request: OutboxReadRequest,
        _ floors: [Int64],
        looksForHeld: Bool,
        to events: inout [OutboxEvent]
    ) async throws(OutboxError) -> [OutboxEvent.ID] {
        var held: [OutboxEvent.ID] = []
        let lanes = Array(zip(request.slots, floors))
        let answers = try await inParts(lanes, of: request.destination) { lanes throws(OutboxError) in
            var part = request
            part.slots = lanes.map(\.0)
            if lanes.count < request.slots.count { part.maximumBytes /= max(request.slots.count, 1) }
            return try await rows(part, lanes.map(\.1), looksForHeld: looksForHeld)
        }
        for rows in answers {
            events.reserveCapacity(events.count + rows.count)
            for row in 0..<rows.count {
                let event = try PostgresReading.event(
                    rows,
                    row,
                    origin: .outbox,
                    of: request.destination,
                    after: events.isEmpty ? nil : events[events.count - 1].message.topic
                )
                if PostgresReading.isHeld(rows, row) { held.append(event.id) } else { events.append(event) }
            }
        }
        return held
    }

    /// Rows as far as a lane's share of the bytes goes; counted where these, or some before of this destination, have a large one.
    private func rows(
        _ request: OutboxReadRequest,
        _ floors: [Int64],
        looksForHeld: Bool
    ) async throws(OutboxError) -> LibpqRows {
        let destination = request.destination
        if state.withLock({ $0.countedReads[destination] == nil }) {
            let rows = try await connection.query(
                reading.rows(request, floors: floors, looksForHeld: looksForHeld, isCounted: false)
            )
            guard PostgresReading.hasLarge(rows) else { return rows }
        }
        let rows = try await connection.query(
            reading.rows(request, floors: floors, looksForHeld: looksForHeld, isCounted: true)
        )
        let hasLarge = PostgresReading.hasLarge(rows)
        state.withLock { state in
            // Not only until the next one, which may be of other slots: whose large rows would be read twice each time.
            let left = hasLarge ? 16 : (state.countedReads[destination] ?? 1) - 1
            state.countedReads[destination] = left > 0 ? left : nil
        }
        return rows
    }

    /// Asks about lanes of a destination, all at once, or one after another where that takes longer than the server lets a statement run:
    /// a first read may have to go past millions of rows of another destination, or of dead ones.
    private func inParts<Lane, Answer>(
        _ lanes: [Lane],
        of destination: String?,
        _ ask: ([Lane]) async throws(OutboxError) -> Answer
    ) async throws(OutboxError) -> [Answer] {
        if lanes.count < 2 || !state.withLock({ $0.long.contains(destination) }) {
            do throws(OutboxError) {
                return [try await ask(lanes)]
            } catch {
                guard error.code == "57014", lanes.count > 1 else { throw error }
                state.withLock { _ = $0.long.insert(destination) }
            }
        }
        var answers: [Answer] = []
        for lane in lanes { answers.append(try await ask([lane])) }
        return answers
    }

    /// Deletes and parks rows.
    @discardableResult
    public func settle(_ settlement: OutboxSettlement) async throws(OutboxError) -> Int {
        let statements = settling.statements(settlement)
        if statements.count == 1 {
            try await connection.query(statements[0])
        } else if !statements.isEmpty {
            do {
                try await connection.withTransaction { transaction in
                    for statement in statements { try await transaction.query(statement) }
                }
            } catch let error as OutboxError {
                throw error
            } catch {
                throw LibpqFailure.cancelled
            }
        }
        if !settlement.parked.isEmpty {
            state.withLock { $0.parkedSlots.notePark(settlement.parked.map(\.event.id.slot)) }
        }
        return settlement.parked.count
    }

    // MARK: Exactly once

    private var inflight: PostgresInflight { PostgresInflight(table: outbox.table, connection: connection) }

    /// The note of a slot's last batch.
    public func lastInflight(slot: Int, destination: String) async throws(OutboxError) -> OutboxInflight? {
        try await inflight.last(slot: slot, destination: destination)
    }

    /// Notes a batch.
    public func note(_ inflight: OutboxInflight) async throws(OutboxError) {
        guard state.withLock({ $0.owned.contains(inflight.slot) }) else { throw PostgresInflight.fenced }
        try await self.inflight.note(inflight)
    }

    /// Deletes a batch's rows, wherever they are.
    public func conclude(_ inflight: OutboxInflight) async throws(OutboxError) {
        let ids = inflight.rows.map { OutboxEvent.ID(slot: inflight.slot, number: $0) }
        for statement in settling.deletions(ids) { try await connection.query(statement) }
    }

    // MARK: Maintenance

    /// Moves the floor on, sweeps, and looks at what a person decided.
    public func maintain() async throws(OutboxError) -> OutboxMaintenance {
        var found = OutboxMaintenance()
        try await lookAtParked()
        let now = ContinuousClock.now
        let isSweepDue = state.withLock { state in
            guard state.lastSweep.duration(to: now) >= outbox.sweepInterval else { return false }
            state.lastSweep = now
            return true
        }
        if isSweepDue { found.foundBelowFloor = try await sweep() }
        try await moveFloor()
        let heads = try await heads(of: nil)
        found.oldestAge = heads.compactMap(\.age).max()
        found.destinations = Set(heads.compactMap(\.destination))
        if let days = outbox.archiveDays {
            await archive.maintain(PostgresArchive(table: outbox.table, days: days), outbox.connection, at: now)
        }
        return found
    }

    /// Which slots have parked rows, and carries out what is to be discarded.
    private func lookAtParked() async throws(OutboxError) {
        let (owned, look) = state.withLock { ($0.owned, $0.parkedSlots.begin(of: $0.owned)) }
        guard !owned.isEmpty else { return }
        let parked = outbox.table.name("_parked")
        let slots = OutboxValue.text(PostgresArray.integers(owned.map(Int64.init)))
        let rows = try await connection.query(
            OutboxStatement(
                """
                SELECT slot::bigint, EXISTS (SELECT FROM \(parked) p WHERE p.slot = s.slot AND p.action = 'resume'),
                    EXISTS (SELECT FROM \(parked) p WHERE p.slot = s.slot AND p.action = 'discard')
                FROM unnest($1::smallint[]) AS s (slot) WHERE EXISTS (SELECT FROM \(parked) p WHERE p.slot = s.slot)
                """,
                [slots]
            )
        )
        let all = Set((0..<rows.count).compactMap { rows.integer($0, 0).map(Int.init) })
        let decided = Set(
            (0..<rows.count).filter { rows.boolean($0, 1) == true }.compactMap { rows.integer($0, 0).map(Int.init) }
        )
        state.withLock { $0.parkedSlots.note(look, parked: all, decided: decided) }
        if (0..<rows.count).contains(where: { rows.boolean($0, 2) == true }) {
            try await connection.query(
                OutboxStatement(
                    "DELETE FROM \(parked) WHERE slot = ANY ($1::smallint[]) AND action = 'discard'",
                    [slots]
                )
            )
        }
    }

    private func moveFloor() async throws(OutboxError) {
        let (last, holders) = try await upkeep.lastNumberAndHolders()
        guard let last else { return }
        let (number, destinations) = state.withLock {
            ($0.floor.observe(last: last, holders: holders), $0.destinations)
        }
        guard let number else { return }
        for destination in destinations.map(Optional.some) + [nil] {
            let heads = try await heads(of: destination)
            state.withLock { state in
                for head in heads where state.owned.contains(head.slot) {
                    let lane = PostgresFloor.Lane(slot: head.slot, destination: destination)
                    state.floor.complete(lane, first: head.number, upTo: number)
                }
            }
        }
    }

    private func heads(of destination: String?) async throws(OutboxError) -> [PostgresUpkeep.Head] {
        try await inParts(lanes(destination), of: destination) { lanes throws(OutboxError) in
            try await upkeep.heads(lanes, of: destination)
        }.flatMap(\.self)
    }

    private func lanes(_ destination: String?) -> [(slot: Int, floor: Int64)] {
        state.withLock { state in
            state.owned.map { ($0, state.floor.of(PostgresFloor.Lane(slot: $0, destination: destination))) }
        }
    }

    /// Looks below the floor, where no row can be; what is found there is read again from the beginning.
    private func sweep() async throws(OutboxError) -> Int {
        let lanes = state.withLock { state in state.floor.lanes.map { (lane: $0, floor: state.floor.of($0)) } }
        let answers = try await inParts(lanes, of: nil) { lanes throws(OutboxError) in
            try await upkeep.below(lanes)
        }
        var count = 0
        for rows in answers.compactMap(\.self) {
            for row in 0..<rows.count {
                count += Int(rows.integer(row, 1) ?? 0)
                if let slot = rows.integer(row, 0) { state.withLock { $0.floor.forget(slot: Int(slot)) } }
            }
        }
        return count
    }

    /// For tests: a statement of the session's.
    @discardableResult
    func query(_ statement: OutboxStatement) async throws(OutboxError) -> LibpqRows {
        try await connection.query(statement)
    }

    /// For tests: how far the furthest floor is.
    var highestFloor: Int64 {
        state.withLock { state in state.floor.lanes.map { state.floor.of($0) }.max() ?? 0 }
    }

    // MARK: Waiting and the end

    /// Waits for a notification.
    @discardableResult
    public func waitForWork(atMost timeout: Duration) async -> Bool {
        await connection.waitForNotification(atMost: timeout)
    }

    /// Ends the connection, and with it the locks.
    public func close() async {
        await connection.close()
    }
}
