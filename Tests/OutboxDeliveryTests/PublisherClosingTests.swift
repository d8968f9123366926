import Logging
import Testing

@testable import OutboxDelivery

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

struct PublisherClosingTests {
    private let start = ContinuousClock.now
    private let accepted = OutboxOutcome.accepted(OutboxReceipt(place: "t"))

    private func event(_ number: Int64, _ key: String?, slot: Int = 0) -> OutboxEvent {
        OutboxEvent(
            id: .init(slot: slot, number: number),
            createdAt: Date(timeIntervalSince1970: 0),
            message: OutboxMessage(topic: "t", key: key, payload: "")
        )
    }

    /// A publisher that closes, with a batch of two events at its destination.
    private func closing() throws -> (PublisherState, Int) {
        var state = PublisherState(OutboxPublisher.Configuration(), destinations: ["kafka": 100])
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let actions = state.advance(.balanced(OutboxShare(slots: [0], publishers: 2), session: 0), at: start)
        let tickets = actions.compactMap { if case .read(let ticket, _) = $0 { ticket } else { nil } }
        let ticket = try #require(tickets.first)
        _ = state.advance(.read(ticket, [event(1, "a"), event(2, "b")]), at: start)
        #expect(!finishes(state.advance(.close, at: start)))
        return (state, ticket)
    }

    private func finishes(_ actions: [PublisherState.Action]) -> Bool {
        actions.contains { if case .finish = $0 { true } else { false } }
    }

    private func abandoned(_ actions: [PublisherState.Action]) -> Int? {
        actions.compactMap { if case .finish(let count) = $0 { count } else { nil } }.first
    }

    private func settled(_ actions: [PublisherState.Action]) -> [Int64] {
        actions.flatMap { if case .settle(_, let some) = $0 { some.accepted.map(\.id.number) } else { [Int64]() } }
    }

    @Test func aSessionIsOwedItsWordAlsoWhileThePublisherCloses() throws {
        var (state, ticket) = try closing()
        for second in 1...30 {
            let now = start.advanced(by: .seconds(second))
            #expect(state.deadline(after: start.advanced(by: .seconds(second - 1))) == now)
            let actions = state.advance(.timer, at: now)
            let words = actions.compactMap { if case .leave(let busy) = $0 { busy } else { nil } }
            #expect(words == [[0]] && actions.count == 1, "it says that it is there, and reads nothing")
            _ = state.advance(.balanced(OutboxShare(slots: [0], publishers: 2), session: 0), at: now)
        }
        let now = start.advanced(by: .milliseconds(30_500))
        #expect(settled(state.advance(.published(ticket, [accepted, accepted]), at: now)) == [1, 2])
        #expect(abandoned(state.advance(.settled(ticket), at: now)) == 0)
    }

    // One of them waits for a retry, which this publisher makes no more.
    @Test func aPublisherThatClosesTakesNothingAndKeepsOnlyTheSlotsOfWhatIsUnderWay() throws {
        var state = PublisherState(OutboxPublisher.Configuration(), destinations: ["hooks": 1])
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let actions = state.advance(.balanced(OutboxShare(slots: [0, 1], publishers: 2), session: 0), at: start)
        let tickets = actions.compactMap { if case .read(let ticket, _) = $0 { ticket } else { nil } }
        try #require(tickets.count == 2)
        _ = state.advance(.read(tickets[0], [event(1, "a", slot: 0)]), at: start)
        _ = state.advance(.read(tickets[1], [event(2, "b", slot: 1)]), at: start)
        let refused = OutboxOutcome.rejected(reason: "no", isRetriable: true)
        for case .read(let ticket, _) in state.advance(.published(tickets[0], [refused]), at: start) {
            _ = state.advance(.read(ticket, []), at: start)
        }
        let running = state.advance(.timer, at: start.advanced(by: .seconds(1)))
        let busy = running.compactMap { if case .balance(let busy) = $0 { busy } else { nil } }
        #expect(busy == [[0, 1]])
        #expect(!finishes(state.advance(.close, at: start.advanced(by: .seconds(1)))))
        let share = OutboxShare(slots: [0, 1], publishers: 2)
        _ = state.advance(.balanced(share, session: 0), at: start.advanced(by: .seconds(1)))
        let closing = state.advance(.timer, at: start.advanced(by: .seconds(2)))
        let kept = closing.compactMap { if case .leave(let busy) = $0 { busy } else { nil } }
        #expect(kept == [[1]])
        #expect(!closing.contains { if case .balance = $0 { true } else { false } })
    }

    @Test func aSessionThatIsLostWhileThePublisherClosesIsOpenedAgainForWhatIsConfirmed() throws {
        var (state, ticket) = try closing()
        let lost = OutboxError(kind: .unavailable, persistence: nil, recovery: .retry, reason: "gone")
        let opening = { (actions: [PublisherState.Action]) in
            actions.contains { if case .open(session: 1, _) = $0 { true } else { false } }
        }
        #expect(opening(state.advance(.failed(lost, session: 0), at: start)))
        let opened = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        // Its word is said, and nothing is taken or read.
        #expect(opened.count == 1)
        #expect(opened.contains { if case .leave(busy: [0]) = $0 { true } else { false } })
        _ = state.advance(.balanced(OutboxShare(slots: [], publishers: 1), session: 1), at: start)
        #expect(settled(state.advance(.published(ticket, [accepted, accepted]), at: start)) == [1, 2])
        #expect(abandoned(state.advance(.settled(ticket), at: start)) == 0)

    }

    @Test func whatIsBeingDeletedWhenTheSessionIsLostIsDeletedByAnotherOneOnce() throws {
        let lost = OutboxError(kind: .unavailable, persistence: nil, recovery: .retry, reason: "gone")
        var (state, ticket) = try closing()
        let refused = OutboxOutcome.rejected(reason: "no", isRetriable: false)
        #expect(settled(state.advance(.published(ticket, [accepted, refused]), at: start)) == [1])
        var actions = state.advance(.failed(lost, session: 0), at: start)
        #expect(!finishes(actions) && actions.contains { if case .open(session: 1, _) = $0 { true } else { false } })
        actions = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        #expect(settled(actions) == [1])
        // To park is the slot's owner's.
        let parked = actions.flatMap { if case .settle(_, let some) = $0 { some.parked } else { [] } }
        #expect(parked.isEmpty)
        var other = state
        #expect(abandoned(state.advance(.settled(ticket), at: start)) == 0)

        // Where that is lost, too, it ends: the next publisher sends them again.
        actions = other.advance(.failed(lost, session: 1), at: start)
        #expect(finishes(actions) && !actions.contains { if case .open = $0 { true } else { false } })
    }

    @Test func whatArrivedBeforeTheTimeWasOverIsDeletedAndTheRestCountsAsAbandoned() throws {
        var (state, ticket) = try closing()
        var actions = state.advance(.closeNow, at: start)
        let cancelled = actions.compactMap { if case .cancel(let ticket) = $0 { ticket } else { nil } }
        #expect(cancelled == [ticket] && !finishes(actions))
        actions = state.advance(.published(ticket, [accepted, .unknown(reason: "cancelled")]), at: start)
        #expect(settled(actions) == [1] && !finishes(actions))
        #expect(abandoned(state.advance(.settled(ticket), at: start)) == 1)
    }

    @Test func aDestinationThatDoesNotEndHasASecondAndNoMore() throws {
        var (state, _) = try closing()
        _ = state.advance(.closeNow, at: start)
        let end = start.advanced(by: .seconds(1))
        #expect(state.deadline(after: start) == end)
        #expect(!finishes(state.advance(.timer, at: end.advanced(by: .milliseconds(-1)))))
        #expect(abandoned(state.advance(.timer, at: end)) == 2)
    }

    /// The publisher's task got its turn when the second was over, in which the destination had told what arrived.
    @Test func whatIsToldAtTheLastMomentIsDeletedForWhichThereIsASecondMore() throws {
        var (state, ticket) = try closing()
        _ = state.advance(.closeNow, at: start)
        let late = start.advanced(by: .seconds(5))
        var actions = state.advance(.published(ticket, [accepted, .unknown(reason: "cancelled")]), at: late)
        #expect(settled(actions) == [1] && !finishes(actions))
        var other = state
        actions = state.advance(.settled(ticket), at: late)
        #expect(abandoned(actions) == 1)

        // And no longer.
        #expect(other.deadline(after: late) == late.advanced(by: .seconds(1)))
        #expect(finishes(other.advance(.timer, at: late.advanced(by: .seconds(1)))))
    }

    @Test func aCancelledPublisherWaitsForNothing() throws {
        var (state, _) = try closing()
        #expect(abandoned(state.advance(.end, at: start)) == 2)
    }

    // MARK: The publisher

    /// A database that is away.
    private struct NoStore: OutboxStore {
        func openSession() async throws(OutboxError) -> NoSession {
            throw OutboxError(kind: .unavailable, persistence: .notPersisted, recovery: .retry, reason: "away")
        }
    }

    private struct NoSession: OutboxSession {
        let keepAlive = Duration.seconds(1)
        func balance(busy: Set<Int>) async throws(OutboxError) -> OutboxShare { OutboxShare(slots: [], publishers: 1) }
        func read(_ request: OutboxReadRequest) async throws(OutboxError) -> [OutboxEvent] { [] }
        func settle(_ settlement: OutboxSettlement) async throws(OutboxError) -> Int { 0 }
        func maintain() async throws(OutboxError) -> OutboxMaintenance { OutboxMaintenance() }
        func waitForWork(atMost timeout: Duration) async -> Bool { false }
        func close() async {}
    }

    private func publisher() -> OutboxPublisher {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return OutboxPublisher(store: NoStore(), destinations: [:], logger: logger)
    }

    @Test(.timeLimit(.minutes(5))) func aPublisherThatWasClosedBeforeItRanReturnsAtOnceAndRunsOnce() async throws {
        let publisher = publisher()
        #expect(await publisher.close() == OutboxPublisher.CloseReport())
        try await publisher.run()
        for await _ in publisher.events {}
        await #expect(throws: OutboxError.self) { try await publisher.run() }
        #expect(await publisher.close() == OutboxPublisher.CloseReport())
    }

    @Test(.timeLimit(.minutes(5))) func closingManyTimesReturnsOneReport() async throws {
        let publisher = publisher()
        async let run: Void = publisher.run()
        for await event in publisher.events {
            guard case .sessionLost = event else { continue }
            break
        }
        for seconds in [Int64.max, 30, 60] { #expect(await publisher.close(within: .seconds(seconds)).published == 0) }
        try await run
    }
}
