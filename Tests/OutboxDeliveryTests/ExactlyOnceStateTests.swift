import Testing

@testable import OutboxDelivery

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

struct ExactlyOnceStateTests {
    private final class Writer: ExactlyOnceWriter {
        let lastNumber: Int64 = 0
        let maximumBatchCount: Int

        init(atMost maximumBatchCount: Int = .max) {
            self.maximumBatchCount = maximumBatchCount
        }

        func publish(_ batch: [OutboxEvent], as inflight: OutboxInflight) async -> ExactlyOnceResult { .init([]) }
        func close() async {}
    }

    private let start = ContinuousClock.now
    private let accepted = OutboxOutcome.accepted(OutboxReceipt(place: "t"))

    private func event(_ number: Int64, _ key: String?, slot: Int = 0) -> OutboxEvent {
        OutboxEvent(
            id: .init(slot: slot, number: number),
            createdAt: Date(timeIntervalSince1970: 0),
            message: OutboxMessage(topic: "t\(number)", key: key, payload: "")
        )
    }

    private func opened(_ slots: Set<Int> = [0]) -> (PublisherState, Int?) {
        var state = PublisherState(
            OutboxPublisher.Configuration(),
            destinations: ["kafka": 100],
            exactlyOnce: ["kafka"]
        )
        _ = state.advance(.begin, at: start)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        let actions = state.advance(.balanced(OutboxShare(slots: slots, publishers: 1), session: 0), at: start)
        return (state, actions.reads.first)
    }

    @Test func aSlotIsTakenOverFirstAndEachBatchIsNotedBeforeItIsSent() throws {
        var (state, read) = opened()
        var actions = state.advance(.read(try #require(read), [event(7, "a")]), at: start)
        // What was read before the slot was taken over may be stored already.
        #expect(actions.notes.isEmpty && actions.once.isEmpty)
        let takeover = try #require(actions.takeovers.first)
        let writer = Writer()
        actions = state.advance(.tookOver(takeover.ticket, writer, last: 4), at: start)
        read = actions.reads.first
        actions = state.advance(.read(try #require(read), [event(7, "a"), event(9, "b")]), at: start)
        let note = try #require(actions.notes.first)
        #expect(actions.once.isEmpty)
        let inflight = note.inflight
        #expect(inflight.number == 5 && inflight.rows == [7, 9] && inflight.topic == "t7" && inflight.slot == 0)
        actions = state.advance(.noted(note.ticket), at: start)
        let batch = try #require(actions.once.first)
        #expect(batch.writer === writer && batch.inflight == inflight)
        actions = state.advance(.published(batch.ticket, [accepted, accepted]), at: start)
        #expect(actions.settlements.first?.settlement.accepted.count == 2)
        _ = state.advance(.waited(true, session: 0), at: start)
        actions = state.advance(.settled(batch.ticket), at: start)
        // The next one needs no taking over.
        actions = state.advance(.read(try actions.read, [event(10, "b")]), at: start)
        #expect(actions.notes.first?.inflight.number == 6)
    }

    /// A state with a batch of two events at its destination.
    private func publishing() throws -> (state: PublisherState, ticket: Int, writer: Writer) {
        var (state, read) = opened()
        var actions = state.advance(.read(try #require(read), [event(1, "a")]), at: start)
        let writer = Writer()
        actions = state.advance(.tookOver(try actions.takeover, writer, last: 0), at: start)
        actions = state.advance(.read(try actions.read, [event(1, "a"), event(2, "b")]), at: start)
        actions = state.advance(.noted(try actions.note), at: start)
        return (state, try #require(actions.once.first).ticket, writer)
    }

    @Test func aBatchThatWasNotStoredHasItsSlotTakenOverAnewAndItsCulpritParkedAndTheOthersSentAtOnce() throws {
        var (state, ticket, writer) = try publishing()
        let refused = OutboxOutcome.rejected(reason: "too large", isRetriable: false)
        var actions = state.advance(.published(ticket, [refused, .unavailable(reason: "with it")]), at: start)
        #expect(actions.released.contains { $0 === writer })
        #expect(actions.settlements.first?.settlement.parked.map(\.event.id.number) == [1])
        #expect(actions.settlements.first?.settlement.accepted.isEmpty == true)
        actions = state.advance(.settled(ticket), at: start)
        actions = state.advance(.read(try actions.read, [event(2, "b")]), at: start)
        #expect(actions.notes.isEmpty && actions.takeovers.count == 1)
    }

    @Test func aBatchThatIsAtFaultItselfHoldsBackItsSlotAndNotItsDestination() throws {
        var (state, ticket, writer) = try publishing()
        let waits = OutboxOutcome.unavailable(reason: "too large together")
        var wait = Duration.milliseconds(100)
        var now = start
        for _ in 0..<3 {
            var actions = state.advance(
                .publishedOnce(ticket, ExactlyOnceResult([waits, waits], isFaultOfBatch: true)),
                at: now
            )
            #expect(actions.released.contains { $0 === writer } && actions.settlements.isEmpty)
            #expect(!actions.contains { if case .tell(.destinationUnavailable) = $0 { true } else { false } })
            // Twice as long each time, also though its slot is taken over in between.
            #expect(state.advance(.timer, at: now.advanced(by: wait - .milliseconds(1))).reads.isEmpty)
            now = now.advanced(by: wait)
            wait *= 2
            actions = state.advance(.timer, at: now)
            actions = state.advance(.read(try actions.read, [event(1, "a"), event(2, "b")]), at: now)
            #expect(actions.notes.isEmpty)
            actions = state.advance(.tookOver(try actions.takeover, writer, last: 0), at: now)
            actions = state.advance(.read(try actions.read, [event(1, "a"), event(2, "b")]), at: now)
            actions = state.advance(.noted(try actions.note), at: now)
            ticket = try #require(actions.once.first).ticket
        }
        _ = state.advance(.published(ticket, [accepted, accepted]), at: now)
        _ = state.advance(.waited(true, session: 0), at: now)
        #expect(state.advance(.settled(ticket), at: now).reads.count == 1)
    }

    @Test func aBatchHasNoMoreEventsThanItsWriterTakesNorDoesItsNoteAndTheRestIsReadAgain() throws {
        var (state, read) = opened()
        var actions = state.advance(.read(try #require(read), [event(1, "a")]), at: start)
        actions = state.advance(.tookOver(try actions.takeover, Writer(atMost: 2), last: 0), at: start)
        actions = state.advance(.read(try actions.read, (1...5).map { event($0, "a") }), at: start)
        #expect(actions.notes.first?.inflight.rows == [1, 2])
        actions = state.advance(.noted(try actions.note), at: start)
        let ticket = try #require(actions.once.first).ticket
        #expect(actions.onceCounts == [2])
        actions = state.advance(.published(ticket, [accepted, accepted]), at: start)
        #expect(actions.settlements.first?.settlement.accepted.map(\.id.number) == [1, 2])
        // Without waiting for a notification.
        #expect(state.advance(.settled(ticket), at: start).reads.count == 1)
    }

    @Test func aBatchThatMayBeStoredHasItsSlotTakenOverAndNothingIsParkedForIt() throws {
        var (state, ticket, writer) = try publishing()
        let unknown = OutboxOutcome.unknown(reason: "no answer")
        var actions = state.advance(.published(ticket, [unknown, unknown]), at: start)
        #expect(actions.released.contains { $0 === writer } && actions.settlements.isEmpty)
        actions = state.advance(.timer, at: start.advanced(by: .milliseconds(500)))
        actions = state.advance(
            .read(try actions.read, [event(1, "a"), event(2, "b")]),
            at: start.advanced(by: .milliseconds(500))
        )
        #expect(actions.notes.isEmpty && actions.takeovers.count == 1)
    }

    @Test func aSessionThatEndsWhileABatchIsSentLetsItEndAndTakesTheSlotOverBeforeTheNext() throws {
        var (state, ticket, writer) = try publishing()
        let gone = OutboxError(kind: .unavailable, persistence: nil, recovery: .retry, reason: "gone")
        var actions = state.advance(.failed(gone, session: 0), at: start)
        #expect(actions.released.isEmpty)
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: start)
        actions = state.advance(.balanced(OutboxShare(slots: [0], publishers: 1), session: 1), at: start)
        // Not beside itself.
        #expect(actions.reads.isEmpty)
        actions = state.advance(.published(ticket, [accepted, accepted]), at: start)
        #expect(actions.released.contains { $0 === writer })
        #expect(actions.settlements.first?.settlement.accepted.count == 2)
        _ = state.advance(.waited(true, session: 1), at: start)
        actions = state.advance(.settled(ticket), at: start)
        actions = state.advance(.read(try actions.read, [event(3, "a")]), at: start)
        #expect(actions.notes.isEmpty && actions.takeovers.count == 1)
    }

    @Test func aTakingOverThatIsOverAfterItsSessionIsLetGoOf() throws {
        var (state, read) = opened()
        let begun = state.advance(.read(try #require(read), [event(1, "a")]), at: start)
        let takeover = try #require(begun.takeovers.first)
        let gone = OutboxError(kind: .unavailable, persistence: nil, recovery: .retry, reason: "gone")
        _ = state.advance(.failed(gone, session: 0), at: start)
        let writer = Writer()
        let actions = state.advance(.tookOver(takeover.ticket, writer, last: 0), at: start)
        #expect(actions.released.contains { $0 === writer })
    }

    @Test func batchesOfManySlotsThatFailTogetherAreOneFailureOfTheirDestination() throws {
        var (state, read) = opened(Set(0..<32))
        let events = (0..<32).map { event(Int64($0 + 1), "k\($0)", slot: $0) }
        let begun = state.advance(.read(try #require(read), events), at: start)
        #expect(begun.takeovers.count == 32)
        let away = OutboxError(kind: .unavailable, persistence: nil, recovery: .retry, reason: "fenced")
        for takeover in begun.takeovers { _ = state.advance(.notTakenOver(takeover.ticket, away), at: start) }
        // The first wait is 100 ms, and not that doubled for each slot.
        let actions = state.advance(.timer, at: start.advanced(by: .milliseconds(100)))
        #expect(actions.reads.count == 1)
    }

    @Test(arguments: [true, false])
    func aSlotThatCannotBeTakenOverWaitsAloneAndTheOthersGoOn(_ isOfSlot: Bool) throws {
        var (state, read) = opened([0, 1])
        let begun = state.advance(.read(try #require(read), [event(1, "a"), event(2, "b", slot: 1)]), at: start)
        let held = try #require(begun.takeovers.first { $0.slot == 0 }).ticket
        let other = try #require(begun.takeovers.first { $0.slot == 1 }).ticket
        var actions = state.advance(.tookOver(other, Writer(), last: 0), at: start)
        let next = try actions.read
        let refused = OutboxError(
            kind: .unavailable,
            persistence: .notPersisted,
            recovery: isOfSlot ? .fixRequest : .retry,
            reason: "no right"
        )
        actions = state.advance(.notTakenOver(held, refused), at: start)
        #expect(actions.reads.isEmpty)
        #expect(!actions.contains { if case .tell(.destinationUnavailable) = $0 { true } else { false } })
        // The other slot's batch, and the next one, at once.
        actions = state.advance(.read(next, [event(2, "b", slot: 1)]), at: start)
        actions = state.advance(.noted(try actions.note), at: start)
        let batch = try #require(actions.once.first).ticket
        _ = state.advance(.published(batch, [accepted]), at: start)
        _ = state.advance(.waited(true, session: 0), at: start)
        actions = state.advance(.settled(batch), at: start)
        #expect(actions.readSlots == [[1]])
        // The slot that waits is tried again when its wait is over, which is doubled then.
        #expect(state.deadline(after: start) == start.advanced(by: .milliseconds(100)))
        actions = state.advance(.timer, at: start.advanced(by: .milliseconds(100)))
        #expect(actions.readSlots == [[0]])
        let again = start.advanced(by: .milliseconds(100))
        actions = state.advance(.read(try actions.read, [event(1, "a")]), at: again)
        _ = state.advance(.notTakenOver(try actions.takeover, refused), at: again)
        #expect(state.advance(.timer, at: start.advanced(by: .milliseconds(299))).reads.isEmpty)
        #expect(state.advance(.timer, at: start.advanced(by: .milliseconds(300))).readSlots == [[0]])
    }

    @Test func aDestinationThatCannotBeTakenOverIsAwayAndIsTriedAgain() throws {
        var (state, read) = opened()
        var actions = state.advance(.read(try #require(read), [event(1, "a")]), at: start)
        let away = OutboxError(kind: .unavailable, persistence: nil, recovery: .retry, reason: "no broker")
        actions = state.advance(.notTakenOver(try actions.takeover, away), at: start)
        #expect(actions.reads.isEmpty)
        let later = start.advanced(by: .milliseconds(500))
        actions = state.advance(.timer, at: later)
        actions = state.advance(.read(try actions.read, [event(1, "a")]), at: later)
        #expect(actions.takeovers.count == 1)
    }
}

extension [PublisherAction] {
    fileprivate var reads: [Int] { compactMap { if case .read(let ticket, _) = $0 { ticket } else { nil } } }

    fileprivate var readSlots: [[Int]] {
        compactMap { if case .read(_, let request) = $0 { request.slots } else { nil } }
    }

    fileprivate var takeovers: [(ticket: Int, slot: Int)] {
        compactMap { if case .takeOver(let ticket, _, let slot) = $0 { (ticket, slot) } else { nil } }
    }

    fileprivate var read: Int { get throws { try #require(reads.first) } }
    fileprivate var takeover: Int { get throws { try #require(takeovers.first).ticket } }
    fileprivate var note: Int { get throws { try #require(notes.first).ticket } }

    fileprivate var notes: [(ticket: Int, inflight: OutboxInflight)] {
        compactMap { if case .note(let ticket, let inflight) = $0 { (ticket, inflight) } else { nil } }
    }

    fileprivate var once: [(ticket: Int, writer: AnyObject, inflight: OutboxInflight)] {
        compactMap { action in
            if case .publishOnce(let ticket, let writer, _, let inflight) = action {
                (ticket, writer as AnyObject, inflight)
            } else {
                nil
            }
        }
    }

    fileprivate var onceCounts: [Int] {
        compactMap { if case .publishOnce(_, _, let events, _) = $0 { events.count } else { nil } }
    }

    fileprivate var released: [AnyObject] {
        compactMap { if case .release(let writer) = $0 { writer as AnyObject } else { nil } }
    }

    fileprivate var settlements: [(ticket: Int, settlement: OutboxSettlement)] {
        compactMap { if case .settle(let ticket, let settlement) = $0 { (ticket, settlement) } else { nil } }
    }
}
