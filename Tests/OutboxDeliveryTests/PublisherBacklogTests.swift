import Testing

@testable import OutboxDelivery

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

struct PublisherBacklogTests {
    private let start = ContinuousClock.now

    private func event(_ number: Int64, _ key: String, slot: Int) -> OutboxEvent {
        OutboxEvent(
            id: .init(slot: slot, number: number),
            createdAt: Date(timeIntervalSince1970: 0),
            message: OutboxMessage(topic: "t", key: key, payload: "")
        )
    }

    /// Opened, with these slots, and its first reads under way.
    private func opened(_ slots: Set<Int>) -> (PublisherState, [(Int, OutboxReadRequest)]) {
        var state = PublisherState(OutboxPublisher.Configuration(), destinations: ["kafka": 100])
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let share = OutboxShare(slots: slots, publishers: 1)
        let first = reads(state.advance(.balanced(share, session: 0), at: start))
        return (state, first)
    }

    private func reads(_ actions: [PublisherState.Action]) -> [(Int, OutboxReadRequest)] {
        actions.compactMap { if case .read(let ticket, let request) = $0 { (ticket, request) } else { nil } }
    }

    @Test func aBacklogIsReadInAsManyPartsAsMayBeUnderWay() throws {
        var (state, first) = opened(Set(0..<32))
        let (ticket, request) = try #require(first.first)
        #expect(first.count == 1 && request.slots == Array(0..<32))
        // As many rows of each slot as were asked for: there are more.
        let rows = { (slots: [Int], limit: Int) in
            slots.flatMap { slot in (0..<limit).map { event(Int64($0), "\(slot)", slot: slot) } }
        }
        _ = state.advance(.read(ticket, rows(request.slots, request.limitPerSlot)), at: start)
        let accepted = [OutboxOutcome](repeating: .accepted(OutboxReceipt(place: "t")), count: 96)
        _ = state.advance(.published(ticket, accepted), at: start)
        var parts = reads(state.advance(.settled(ticket), at: start))
        #expect(parts.count == 4)
        #expect(parts.allSatisfy { $0.1.slots.count == 8 && $0.1.limitPerSlot == 100 / 8 })
        #expect(Set(parts.flatMap(\.1.slots)) == Set(0..<32))
        // The part that is done is read again, whatever the others wait for.
        let (done, part) = parts.removeFirst()
        _ = state.advance(.read(done, rows(part.slots, part.limitPerSlot)), at: start)
        _ = state.advance(.published(done, accepted), at: start)
        let next = reads(state.advance(.settled(done), at: start))
        #expect(next.map(\.1.slots) == [part.slots])
    }

    // All have more rows than a batch has places, and one batch is under way at a time.
    @Test(arguments: [(1, 32), (4, 8), (20, 2), (100, 1)])
    func allSlotsAreReadInTurnWhateverTheFirstOnesHave(maximumBatchCount: Int, reads count: Int) throws {
        var configuration = OutboxPublisher.Configuration()
        configuration.maximumBatches = 1
        var state = PublisherState(configuration, destinations: ["hooks": maximumBatchCount])
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let share = OutboxShare(slots: Set(0..<32), publishers: 1)
        var next = reads(state.advance(.balanced(share, session: 0), at: start))
        var last = Array(repeating: 0, count: 32)
        for read in 1...(4 * count) {
            let (ticket, request) = try #require(next.first)
            for slot in request.slots { last[slot] = read }
            if read >= count { #expect(last.allSatisfy { $0 > read - count }, "read \(read): \(last)") }
            let events = request.slots.flatMap { slot in
                (0..<request.limitPerSlot).map { event(Int64($0), "\(slot)", slot: slot) }
            }
            _ = state.advance(.read(ticket, events), at: start)
            let accepted = events.map { _ in OutboxOutcome.accepted(OutboxReceipt(place: "t")) }
            _ = state.advance(.published(ticket, accepted), at: start)
            next = reads(state.advance(.settled(ticket), at: start))
        }
    }

    // With a backlog all slots are busy, and none could ever be given to a publisher that joins.
    @Test func slotsThatAreDueToOthersAreNotReadUntilTheyWereGivenBack() throws {
        var (state, pending) = opened(Set(0..<32))
        for round in 0..<24 {
            guard !pending.isEmpty else { break }
            let (ticket, request) = pending.removeFirst()
            let events = request.slots.flatMap { slot in
                (0..<request.limitPerSlot).map { event(Int64(1_000 * round + $0), "\(slot)", slot: slot) }
            }
            _ = state.advance(.read(ticket, events), at: start)
            let accepted = events.map { _ in OutboxOutcome.accepted(OutboxReceipt(place: "t")) }
            _ = state.advance(.published(ticket, accepted), at: start)
            pending += reads(state.advance(.settled(ticket), at: start))
            guard round == 8 else { continue }
            // Another one has joined, and all slots were busy.
            let share = OutboxShare(slots: Set(0..<32), publishers: 2, surplus: 16)
            pending += reads(state.advance(.balanced(share, session: 0), at: start))
        }
        let actions = state.advance(.timer, at: start.advanced(by: .seconds(1)))
        let busy = try #require(
            actions.lazy.compactMap { if case .balance(let busy) = $0 { busy } else { nil } }.first
        )
        #expect(busy.count == 16)
        // What is left is read as before, and so would be all where the other one has gone again.
        for slots in [busy, Set(0..<32)] {
            var state = state
            let rest = OutboxShare(slots: slots, publishers: 2)
            var next = reads(state.advance(.balanced(rest, session: 0), at: start.advanced(by: .seconds(1))))
            for (ticket, _) in pending {
                next += reads(state.advance(.read(ticket, []), at: start))
                next += reads(state.advance(.waited(true, session: 0), at: start))
            }
            #expect(Set(next.flatMap(\.1.slots)) == slots)
        }
    }

    // A destination that does not answer holds half of the slots, which cannot be given back; their rows for another one go on.
    @Test func slotsThatCannotBeGivenBackAreReadAgainAndOthersAreGiven() throws {
        var state = PublisherState(OutboxPublisher.Configuration(), destinations: ["stuck": 100, "works": 100])
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        var actions = state.advance(.balanced(.init(slots: Set(0..<16), publishers: 2), session: 0), at: start)
        for (ticket, request) in reads(actions) where request.destination == "stuck" {
            actions += state.advance(.read(ticket, request.slots.map { event(1, "a", slot: $0) }), at: start)
        }
        actions.removeAll { if case .read(_, let request) = $0 { request.destination == "stuck" } else { false } }
        var slots = Set(0..<32)
        actions += state.advance(.balanced(.init(slots: slots, publishers: 1), session: 0), at: start)
        var readAfterwards: Set<Int> = []
        for beat in 1...12 {
            let now = start.advanced(by: .seconds(beat))
            actions += state.advance(.timer, at: now)
            // Much is done within a beat.
            for round in 0..<100 where !actions.isEmpty {
                switch actions.removeFirst() {
                case .read(let ticket, let request) where request.destination == "stuck":
                    actions += state.advance(.read(ticket, []), at: now)
                case .read(let ticket, let request):
                    if slots.count == 16 { readAfterwards.formUnion(request.slots) }
                    let events = request.slots.flatMap { slot in
                        (0..<request.limitPerSlot).map { event(Int64(100 * round + $0), "\(slot)", slot: slot) }
                    }
                    actions += state.advance(.read(ticket, events), at: now)
                case .publish(let ticket, "works", let events):
                    let accepted = events.map { _ in OutboxOutcome.accepted(OutboxReceipt(place: "t")) }
                    actions += state.advance(.published(ticket, accepted), at: now)
                case .settle(let ticket, _): actions += state.advance(.settled(ticket), at: now)
                case .balance(let busy):
                    slots.subtract(slots.subtracting(busy).sorted().prefix(slots.count - 16))
                    let share = OutboxShare(slots: slots, publishers: 2, surplus: slots.count - 16)
                    actions += state.advance(.balanced(share, session: 0), at: now)
                default: break
                }
            }
        }
        #expect(slots == Set(0..<16))
        #expect(readAfterwards == slots)
    }

    @Test func ofRowsThatAreReadInAnyOrderEachSlotHasItsOwnInTheirOrder() {
        let events = [event(1, "a", slot: 3), event(2, "b", slot: 5), event(3, "a", slot: 3), event(4, "b", slot: 5)]
        let slots = events.slots
        #expect(slots.count == 2)
        #expect(slots[3]?.map(\.id.number) == [1, 3])
        #expect(slots[5]?.map(\.id.number) == [2, 4])
        #expect([OutboxEvent]().slots.isEmpty)
    }

    // Behind an event that was refused none with its key counts, also where another slot's rows stand between.
    @Test func anEventBehindOneOfItsKeyThatWasRefusedWaitsWhereverItStandsInTheBatch() throws {
        var (state, first) = opened([3, 5])
        let (ticket, _) = try #require(first.first)
        let events = [event(1, "a", slot: 3), event(2, "b", slot: 5), event(3, "a", slot: 3), event(4, "b", slot: 5)]
        _ = state.advance(.read(ticket, events), at: start)
        let no = OutboxOutcome.rejected(reason: "no", isRetriable: false)
        let yes = OutboxOutcome.accepted(OutboxReceipt(place: "t"))
        let settlement = try #require(
            state.advance(.published(ticket, [no, yes, no, yes]), at: start).lazy
                .compactMap { if case .settle(_, let settlement) = $0 { settlement } else { nil } }.first
        )
        #expect(settlement.accepted.map(\.id.number) == [2, 4])
        #expect(settlement.parked.map(\.event.id.number) == [1])
    }

    @Test func anIdlePublisherLooksAgainBeforeEachPollIntervalAndTheIntervalGrowsToItsMaximum() throws {
        var (state, first) = opened([0, 1])
        var waits: [Duration] = []
        var actions = state.advance(.read(try #require(first.first).0, []), at: start)
        for _ in 0..<10 {
            // The wait ends without a notification: all is read at once.
            actions += state.advance(.waited(false, session: 0), at: start)
            waits += actions.compactMap { if case .wait(let time) = $0 { time } else { nil } }
            let (ticket, request) = try #require(reads(actions).last)
            #expect(request.slots == [0, 1])
            actions = state.advance(.read(ticket, []), at: start)
        }
        #expect(waits.prefix(4) == [.milliseconds(40), .milliseconds(80), .milliseconds(160), .milliseconds(320)])
        #expect(waits.last == .seconds(1) && waits.allSatisfy { $0 <= .seconds(1) })
    }
}
