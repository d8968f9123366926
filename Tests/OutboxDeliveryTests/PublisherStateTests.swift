import Testing

@testable import OutboxDelivery

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

struct PublisherStateTests {
    private typealias Instant = ContinuousClock.Instant
    private let start = ContinuousClock.now

    private func event(_ number: Int64, _ key: String?, slot: Int = 0) -> OutboxEvent {
        OutboxEvent(
            id: .init(slot: slot, number: number),
            createdAt: Date(timeIntervalSince1970: 0),
            message: OutboxMessage(topic: "t", key: key, payload: "")
        )
    }

    /// Opened, with these slots, and its first reads under way.
    private func opened(_ slots: Set<Int> = [0]) -> (PublisherState, [(Int, OutboxReadRequest)]) {
        var state = PublisherState(OutboxPublisher.Configuration(), destinations: ["kafka": 100])
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let share = OutboxShare(slots: slots, publishers: 1)
        let first = reads(state.advance(.balanced(share, session: 0), at: start), &state)
        return (state, first)
    }

    private func reads(_ actions: [PublisherState.Action], _ state: inout PublisherState) -> [(Int, OutboxReadRequest)]
    {
        actions.compactMap { if case .read(let ticket, let request) = $0 { (ticket, request) } else { nil } }
    }

    private func settlements(_ actions: [PublisherState.Action]) -> [(Int, OutboxSettlement)] {
        actions.compactMap { if case .settle(let ticket, let settlement) = $0 { (ticket, settlement) } else { nil } }
    }

    @Test func aSlotHasOneBatchUnderWayAtATime() throws {
        var (state, first) = opened()
        #expect(first.count == 1)
        let (ticket, request) = try #require(first.first)
        #expect(request.slots == [0] && request.limitPerSlot == 100)
        // Whatever comes, nothing of the slot is read before the batch is settled.
        var actions = state.advance(.read(ticket, [event(1, "a")]), at: start)
        actions += state.advance(.waited(true, session: 0), at: start)
        #expect(reads(actions, &state).isEmpty)
        actions = state.advance(.published(ticket, [.accepted(OutboxReceipt(place: "t"))]), at: start)
        #expect(settlements(actions).first?.1.accepted.map(\.id.number) == [1])
        #expect(reads(actions, &state).isEmpty)
        actions = state.advance(.settled(ticket), at: start)
        #expect(reads(actions, &state).count == 1)
    }

    // Parked before it, a row of its key would come behind it when a person resumes it.
    @Test func whatStandsBeforeARowThatCannotBeReadGoesFirst() throws {
        var (state, first) = opened()
        let (ticket, _) = try #require(first.first)
        let unread = event(2, "a")
        let broken = OutboxEvent(
            id: unread.id,
            createdAt: unread.createdAt,
            message: unread.message,
            defect: "its headers cannot be read"
        )
        var actions = state.advance(.read(ticket, [event(1, "a"), broken, event(3, "b")]), at: start)
        let published = actions.compactMap { if case .publish(_, _, let events) = $0 { events } else { nil } }
        #expect(published.map { $0.map(\.id.number) } == [[1]])
        #expect(settlements(actions).isEmpty)
        // Away: it is sent again, and nothing is parked before.
        actions = state.advance(.published(ticket, [.unavailable(reason: "away")]), at: start)
        #expect(settlements(actions).isEmpty)
        let later = start.advanced(by: .seconds(120))
        actions = state.advance(.timer, at: later)
        actions += state.advance(.balanced(OutboxShare(slots: [0], publishers: 1), session: 0), at: later)
        let (again, _) = try #require(reads(actions, &state).first)
        _ = state.advance(.read(again, [event(1, "a"), broken, event(3, "b")]), at: later)
        _ = state.advance(.published(again, [.accepted(OutboxReceipt(place: "t"))]), at: later)
        actions = state.advance(.settled(again), at: later)
        let (last, _) = try #require(reads(actions, &state).first)
        let parked = settlements(state.advance(.read(last, [broken, event(3, "b")]), at: later)).first?.1.parked
        #expect(parked?.map(\.event.id.number) == [2])
    }

    @Test func aRowThatCannotBeReadIsParkedAtOnceWhereNoneOfItsKeyStandsBeforeIt() throws {
        var (state, first) = opened()
        let (ticket, _) = try #require(first.first)
        let unread = event(2, "b")
        let broken = OutboxEvent(id: unread.id, createdAt: unread.createdAt, message: unread.message, defect: "headers")
        let actions = state.advance(.read(ticket, [event(1, "a"), broken, event(3, "b")]), at: start)
        #expect(settlements(actions).first?.1.parked.map(\.event.id.number) == [2])
        #expect(reads(state.advance(.settled(ticket), at: start), &state).count == 1)
    }

    // Numbers may have begun anew since, after a failover for instance.
    @Test func whatAnEarlierSessionReadIsDeletedAsThat() throws {
        var (state, first) = opened()
        let (ticket, _) = try #require(first.first)
        _ = state.advance(.read(ticket, [event(1, "a")]), at: start)
        let error = OutboxError(kind: .unavailable, persistence: nil, recovery: .retry, reason: "gone")
        _ = state.advance(.failed(error, session: 0), at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let late = state.advance(.published(ticket, [.accepted(OutboxReceipt(place: "t"))]), at: start)
        #expect(settlements(late).first?.1.isOfEarlierSession == true)
    }

    @Test func theStoreIsLookedAfterFourTimesASecondWhileThereAreRowsAndElseOnce() throws {
        var (state, first) = opened()
        let maintains: ([PublisherState.Action]) -> Bool = { actions in
            actions.contains { if case .maintain = $0 { true } else { false } }
        }
        _ = state.advance(.read(try #require(first.first).0, [event(1, "a")]), at: start)
        _ = state.advance(.maintained(OutboxMaintenance(), session: 0), at: start)
        #expect(!maintains(state.advance(.timer, at: start.advanced(by: .milliseconds(249)))))
        let busy = start.advanced(by: .milliseconds(250))
        #expect(maintains(state.advance(.timer, at: busy)))
        _ = state.advance(.maintained(OutboxMaintenance(), session: 0), at: busy)
        #expect(!maintains(state.advance(.timer, at: busy.advanced(by: .milliseconds(999)))))
        #expect(maintains(state.advance(.timer, at: busy.advanced(by: .seconds(1)))))
    }

    /// A batch of one event at its destination, and others that share the work.
    private func stuck(publishers: Int) throws -> (PublisherState, Int, Instant) {
        var state = PublisherState(OutboxPublisher.Configuration(), destinations: ["kafka": 100])
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let share = OutboxShare(slots: [0], publishers: publishers)
        let first = reads(state.advance(.balanced(share, session: 0), at: start), &state)
        let ticket = try #require(first.first).0
        _ = state.advance(.read(ticket, [event(1, "a")]), at: start)
        // Not a moment earlier, and once.
        let late = start.advanced(by: .seconds(300))
        #expect(cancelled(state.advance(.timer, at: late.advanced(by: .milliseconds(-1)))).isEmpty)
        #expect(cancelled(state.advance(.timer, at: late)) == [ticket])
        #expect(cancelled(state.advance(.timer, at: late)).isEmpty)
        return (state, ticket, late)
    }

    private func cancelled(_ actions: [PublisherState.Action]) -> [Int] {
        actions.compactMap { if case .cancel(let ticket) = $0 { ticket } else { nil } }
    }

    private func opening(_ actions: [PublisherState.Action]) -> Duration? {
        actions.compactMap { if case .open(_, let after) = $0 { after } else { nil } }.first
    }

    @Test func aBatchThatTakesTooLongIsGivenUpAndItsSlotsGoToOthersForAsLong() throws {
        var (state, ticket, late) = try stuck(publishers: 2)
        let actions = state.advance(.published(ticket, [.unknown(reason: "cancelled")]), at: late)
        #expect(actions.contains { if case .closeSession = $0 { true } else { false } })
        #expect(opening(actions) == .seconds(300) && settlements(actions).isEmpty)
        // It comes back as any session does.
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: late.advanced(by: .seconds(300)))
        let share = OutboxShare(slots: [0], publishers: 2)
        let next = state.advance(.balanced(share, session: 1), at: late.advanced(by: .seconds(300)))
        #expect(reads(next, &state).count == 1)
    }

    @Test func aPublisherThatIsAloneKeepsItsSlotsAndTriesAgain() throws {
        var (state, ticket, late) = try stuck(publishers: 1)
        let actions = state.advance(.published(ticket, [.unknown(reason: "cancelled")]), at: late)
        #expect(opening(actions) == nil)
        let again = state.advance(
            .balanced(OutboxShare(slots: [0], publishers: 1), session: 0),
            at: late.advanced(by: .milliseconds(200))
        )
        #expect(reads(again, &state).count == 1)
    }

    @Test func aBatchOfWhichSomethingArrivedInTimeLeavesTheSlotsWhereTheyAre() throws {
        var (state, first) = opened()
        let ticket = try #require(first.first).0
        _ = state.advance(.balanced(OutboxShare(slots: [0], publishers: 3), session: 0), at: start)
        _ = state.advance(.read(ticket, [event(1, "a"), event(2, "b")]), at: start)
        let late = start.advanced(by: .seconds(300))
        #expect(cancelled(state.advance(.timer, at: late)) == [ticket])
        let outcomes = [OutboxOutcome.accepted(OutboxReceipt(place: "t")), .unknown(reason: "cancelled")]
        let actions = state.advance(.published(ticket, outcomes), at: late)
        #expect(opening(actions) == nil && settlements(actions).first?.1.accepted.map(\.id.number) == [1])
    }

    @Test func aRefusedEventWaitsThreeTimesAndIsParkedAndOthersGoOn() throws {
        var (state, first) = opened()
        var ticket = try #require(first.first).0
        let refused = OutboxOutcome.rejected(reason: "no", isRetriable: true)
        let accepted = OutboxOutcome.accepted(OutboxReceipt(place: "t"))
        _ = state.advance(.read(ticket, [event(1, "a"), event(2, "b")]), at: start)
        var actions = state.advance(.published(ticket, [refused, accepted]), at: start)
        #expect(settlements(actions).first?.1.accepted.map(\.id.number) == [2])
        actions = state.advance(.settled(ticket), at: start)
        var request = try #require(reads(actions, &state).first)
        #expect(request.1.withheldKeys == [0: [Array("a".utf8)]])
        _ = state.advance(.read(request.0, []), at: start)
        var now = start
        for (attempt, wait) in [(2, 100), (3, 200)] {
            now = now.advanced(by: .milliseconds(wait))
            #expect(state.deadline(after: start).map { $0 <= now } == true)
            actions = state.advance(.timer, at: now)
            request = try #require(reads(actions, &state).first)
            #expect(request.1.withheldKeys.isEmpty)
            ticket = request.0
            _ = state.advance(.read(ticket, [event(1, "a")]), at: now)
            actions = state.advance(.published(ticket, [refused]), at: now)
            let parked = settlements(actions).first?.1.parked
            #expect((parked == nil) == (attempt < 3))
            if attempt == 3 {
                #expect(parked?.first?.attempts == 3 && parked?.first?.withFollowers == true)
            } else {
                for read in reads(actions, &state) { _ = state.advance(.read(read.0, []), at: now) }
            }
        }
    }

    @Test(arguments: [
        OutboxOutcome.rejected(reason: "500", isRetriable: true, retryAfter: .zero),
        .unavailable(reason: "503", retryAfter: .zero), .unavailable(reason: "503", retryAfter: .seconds(-1)),
    ])
    func aDestinationThatAsksForNoPauseGetsTheUsualOne(_ outcome: OutboxOutcome) throws {
        var (state, first) = opened()
        let ticket = try #require(first.first).0
        _ = state.advance(.read(ticket, [event(1, "a"), event(2, "b")]), at: start)
        _ = state.advance(.published(ticket, [outcome, .accepted(OutboxReceipt(place: "t"))]), at: start)
        let withheld = try #require(reads(state.advance(.settled(ticket), at: start), &state).first)
        #expect(withheld.1.withheldKeys == [0: [Array("a".utf8)]])
        _ = state.advance(.read(withheld.0, []), at: start)
        #expect(reads(state.advance(.timer, at: start.advanced(by: .milliseconds(99))), &state).isEmpty)
        #expect(reads(state.advance(.timer, at: start.advanced(by: .milliseconds(100))), &state).count == 1)
    }

    @Test func aDestinationThatIsAwayIsTriedWithOneBatchAndParksNothing() throws {
        var (state, first) = opened(Set(0..<4))
        let ticket = try #require(first.first).0
        _ = state.advance(.read(ticket, [event(1, "a"), event(2, "b", slot: 1)]), at: start)
        let away = OutboxOutcome.unavailable(reason: "connection refused")
        var now = start
        var current = ticket
        for _ in 0..<20 {
            let actions = state.advance(.published(current, [away, away]), at: now)
            #expect(settlements(actions).isEmpty && reads(actions, &state).isEmpty)
            now = now.advanced(by: .seconds(60))
            _ = state.advance(.timer, at: now)
            let share = OutboxShare(slots: Set(0..<4), publishers: 1)
            let next = reads(state.advance(.balanced(share, session: 0), at: now), &state)
            #expect(next.count == 1)
            current = try #require(next.first).0
            _ = state.advance(.read(current, [event(1, "a"), event(2, "b", slot: 1)]), at: now)
        }
        let actions = state.advance(.published(current, [.accepted(OutboxReceipt(place: "t")), away]), at: now)
        #expect(settlements(actions).first?.1.accepted.map(\.id.number) == [1])
    }

    @Test func ofADestinationWithManyPlacesOnlyTheKeysWaitForWhichNoneAnswers() throws {
        var state = PublisherState(
            OutboxPublisher.Configuration(),
            destinations: ["hooks": 100],
            manyPlaces: ["hooks"]
        )
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let share = OutboxShare(slots: [0], publishers: 1)
        let first = reads(state.advance(.balanced(share, session: 0), at: start), &state)
        let ticket = try #require(first.first).0
        _ = state.advance(.read(ticket, [event(1, "x1"), event(2, nil)]), at: start)
        let away: [OutboxOutcome] = [.unavailable(reason: "x is away"), .unknown(reason: "no answer")]
        let actions = state.advance(.published(ticket, away), at: start)
        #expect(!actions.contains { if case .tell(.destinationUnavailable) = $0 { true } else { false } })
        // What is behind them is read at once.
        let next = try #require(reads(actions, &state).first).1
        #expect(next.withheldKeys == [0: [Array("x1".utf8)]] && next.withheldNumbers == [0: [2]])
    }

    @Test func aDestinationOfWhoseManyPlacesNoneAnswersIsToldOnceAndWaitsForNothing() throws {
        var state = PublisherState(
            OutboxPublisher.Configuration(),
            destinations: ["hooks": 100],
            manyPlaces: ["hooks"]
        )
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let share = OutboxShare(slots: [0], publishers: 1)
        var next = reads(state.advance(.balanced(share, session: 0), at: start), &state)
        var told: [Int] = []
        for number in 1...30 {
            let ticket = try #require(next.first).0
            let now = start.advanced(by: .seconds(number))
            _ = state.advance(.read(ticket, [event(Int64(number), "\(number)")]), at: now)
            _ = state.advance(.balanced(share, session: 0), at: now)
            let outcomes = [OutboxOutcome.unavailable(reason: "\(number) is away")]
            let actions = state.advance(.published(ticket, outcomes, places: ["x"]), at: now)
            for case .tell(.placeUnavailable("x", destination: "hooks", let reason)) in actions {
                told.append(number)
                #expect(reason == "\(number) is away")
            }
            next = reads(actions, &state)
            #expect(state.destinations.watchesPlaces(of: "hooks"))
        }
        #expect(told.isEmpty)
        let ticket = try #require(next.first).0
        let now = start.advanced(by: .seconds(31))
        _ = state.advance(.read(ticket, [event(31, "31"), event(32, "32")]), at: now)
        let mixed = [OutboxOutcome.unknown(reason: "no answer"), .accepted(OutboxReceipt(place: "t"))]
        let actions = state.advance(.published(ticket, mixed, places: ["x", "y"]), at: now)
        let isTold = actions.contains { if case .tell(.placeUnavailable("x", _, _)) = $0 { true } else { false } }
        #expect(isTold && !actions.contains { if case .tell(.destinationUnavailable) = $0 { true } else { false } })
    }

    @Test func anEventWithoutAPlaceIsTriedForItsTimeAndOneRefusalLaterIsTheFirst() throws {
        var (state, first) = opened()
        var ticket = try #require(first.first).0
        let missing = OutboxOutcome.unroutable(reason: "no such topic")
        var now = start
        var attempts = 0
        // An event that is refused in between, and has all its attempts all the same.
        let refused = OutboxOutcome.rejected(reason: "no", isRetriable: true)
        while true {
            _ = state.advance(.read(ticket, [event(1, "a"), event(2, "a")]), at: now)
            attempts += 1
            let actions = state.advance(.published(ticket, [attempts == 5 ? refused : missing, missing]), at: now)
            if let parking = settlements(actions).first?.1.parked.first {
                #expect(now >= start.advanced(by: .seconds(300)) && now <= start.advanced(by: .seconds(330)))
                #expect(parking.attempts == attempts && parking.reason == "no such topic")
                return
            }
            #expect(now < start.advanced(by: .seconds(300)))
            for read in reads(actions, &state) {
                #expect(read.1.withheldKeys == [0: [Array("a".utf8)]])
                _ = state.advance(.read(read.0, []), at: now)
            }
            var next: [(Int, OutboxReadRequest)] = []
            while !next.contains(where: \.1.withheldKeys.isEmpty) {
                now = try #require(state.deadline(after: now))
                let actions = state.advance(.timer, at: now)
                for action in actions {
                    let share = OutboxShare(slots: [0], publishers: 1)
                    if case .balance = action {
                        next = reads(state.advance(.balanced(share, session: 0), at: now), &state)
                    }
                    if case .maintain = action {
                        _ = state.advance(.maintained(OutboxMaintenance(), session: 0), at: now)
                    }
                }
                next += reads(actions, &state)
            }
            ticket = try #require(next.first).0
        }
    }

    @Test func whatWasConfirmedAfterItsSessionIsDeletedByTheNextAndNothingIsParkedForIt() throws {
        var (state, first) = opened()
        let ticket = try #require(first.first).0
        _ = state.advance(.read(ticket, [event(1, "a"), event(2, "b")]), at: start)
        let lost = OutboxError(kind: .unavailable, persistence: nil, recovery: .retry, reason: "gone")
        var actions = state.advance(.failed(lost, session: 0), at: start)
        #expect(actions.contains { if case .open(session: 1, _) = $0 { true } else { false } })
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        actions = state.advance(.balanced(OutboxShare(slots: [0], publishers: 1), session: 1), at: start)
        // The lane is not read while its old batch is at the destination.
        #expect(reads(actions, &state).isEmpty)
        let outcomes = [OutboxOutcome.accepted(OutboxReceipt(place: "t")), .rejected(reason: "no", isRetriable: false)]
        actions = state.advance(.published(ticket, outcomes), at: start)
        let settlement = try #require(settlements(actions).first).1
        #expect(settlement.accepted.map(\.id.number) == [1] && settlement.parked.isEmpty)
    }

    @Test func anErrorOfAnEarlierSessionChangesNothing() {
        var (state, _) = opened()
        let lost = OutboxError(kind: .unavailable, persistence: nil, recovery: .retry, reason: "gone")
        _ = state.advance(.failed(lost, session: 0), at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        #expect(state.session == 1)
        _ = state.advance(.failed(lost, session: 0), at: start)
        #expect(state.session == 1)
    }

    @Test func anEventOfAnyTimeHasAnAgeThatIsMeasured() {
        let now = Date(timeIntervalSince1970: 1_800_000_000)
        let age = { PublisherMetrics.nanoseconds(from: Date(timeIntervalSince1970: $0), to: now) }
        #expect(age(1_799_999_999.5) == 500_000_000)
        #expect(age(1_800_000_001) == 0 && age(1e300) == 0)
        for ancient in [-62_135_596_800, -9_223_372_036_854_776, -1e300, -Double.infinity] {
            #expect(age(ancient) == .max)
        }
    }

    @Test func wakingManyTimesNotifiesFewTimesAndAlwaysAfterTheLast() async {
        let calls = AsyncStream.makeStream(of: Void.self)
        let waker = OutboxWaker { calls.continuation.yield() }
        for _ in 0..<1_000 { waker.wake() }
        var iterator = calls.stream.makeAsyncIterator()
        await iterator.next()
        waker.wake()
        await iterator.next()
    }
}
