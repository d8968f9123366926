import Testing

@testable import OutboxDelivery

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

struct PublisherReopeningTests {
    private typealias Reads = [(ticket: Int, request: OutboxReadRequest)]
    private let start = ContinuousClock.now
    private let refused = OutboxError(kind: .database, persistence: .notPersisted, recovery: .fixRequest, reason: "no")
    private let accepted = OutboxOutcome.accepted(OutboxReceipt(place: "t"))

    private func event(_ number: Int64, slot: Int = 0) -> OutboxEvent {
        OutboxEvent(
            id: .init(slot: slot, number: number),
            createdAt: Date(timeIntervalSince1970: 0),
            message: OutboxMessage(topic: "t", key: "\(slot) \(number)", payload: "")
        )
    }

    private func begun(_ configuration: OutboxPublisher.Configuration = .init(), manyPlaces: Bool = false)
        -> PublisherState
    {
        var state = PublisherState(configuration, destinations: ["kafka": 100], manyPlaces: manyPlaces ? ["kafka"] : [])
        _ = state.advance(.begin, at: start)
        return state
    }

    /// Opens a session that owns these slots.
    ///
    /// - Returns: What is read first.
    private func open(_ state: inout PublisherState, slots: Set<Int> = [0, 1], at now: ContinuousClock.Instant) -> Reads
    {
        _ = state.advance(.opened(keepAlive: .seconds(3)), at: now)
        let share = OutboxShare(slots: slots, publishers: 1)
        return reads(state.advance(.balanced(share, session: state.session), at: now))
    }

    private func reads(_ actions: [PublisherState.Action]) -> Reads {
        actions.compactMap { if case .read(let ticket, let request) = $0 { (ticket, request) } else { nil } }
    }

    private func pause(_ actions: [PublisherState.Action]) -> Duration? {
        actions.compactMap { if case .open(_, let after) = $0 { after } else { nil } }.first
    }

    // Each batch is sent and cannot be deleted: read-only, a full disk, a right that was taken away.
    @Test func whatCannotBeDeletedIsSentAgainRowByRowAndAtPausesThatGrow() throws {
        var state = begun()
        var now = start
        var pauses: [Duration] = []
        for session in 0..<12 {
            let first = open(&state, at: now)
            let read = try #require(first.first)
            #expect(first.count == 1)
            #expect(read.request.slots.count * read.request.limitPerSlot == (session == 0 ? 100 : 1))
            let slot = try #require(read.request.slots.first)
            _ = state.advance(.read(read.ticket, [event(1, slot: slot)]), at: now)
            let next = state.advance(.published(read.ticket, [accepted]), at: now)
            #expect(reads(next).isEmpty)
            pauses.append(try #require(pause(state.advance(.failed(refused, session: state.session), at: now))))
            now = now.advanced(by: .seconds(31))
        }
        #expect(zip(pauses, pauses.dropFirst()).prefix(8).allSatisfy { $0 <= $1 }, "\(pauses)")
        #expect(pauses[0] <= .milliseconds(50) && pauses[7] >= .seconds(3))
        #expect(pauses.suffix(2).allSatisfy { (.seconds(15) ... .seconds(30)).contains($0) })
    }

    @Test func onceDeletingWorksMoreIsReadEachTimeAndThenAsMuchAsUsual() throws {
        var state = begun()
        let lost = try #require(open(&state, at: start).first)
        _ = state.advance(.read(lost.ticket, [event(1)]), at: start)
        _ = state.advance(.published(lost.ticket, [accepted]), at: start)
        _ = state.advance(.failed(refused, session: 0), at: start)
        var next = open(&state, at: start)
        var counts: [Int] = []
        for number in 0..<8 as Range<Int64> {
            let read = try #require(next.first)
            counts.append(read.request.slots.count * read.request.limitPerSlot)
            let slot = try #require(read.request.slots.first)
            _ = state.advance(.read(read.ticket, [event(number, slot: slot)]), at: start)
            _ = state.advance(.published(read.ticket, [accepted]), at: start)
            next = reads(state.advance(.settled(read.ticket), at: start))
            _ = state.advance(.waited(true, session: 1), at: start)
            if next.isEmpty { next = reads(state.advance(.timer, at: start)) }
        }
        #expect(counts.prefix(4) == [1, 4, 16, 64] && counts.dropFirst(4).allSatisfy { $0 == 100 }, "\(counts)")
        // And the next loss costs no more than the first did.
        #expect(try #require(pause(state.advance(.failed(refused, session: 1), at: start))) <= .milliseconds(100))
    }

    @Test func aSessionThatFailsAsSoonAsItIsOpenIsOpenedAtPausesThatGrowAndALongOneAtOnce() throws {
        var state = begun()
        var pauses: [Duration] = []
        for _ in 0..<10 {
            _ = open(&state, at: start)
            pauses.append(try #require(pause(state.advance(.failed(refused, session: state.session), at: start))))
        }
        #expect(zip(pauses, pauses.dropFirst()).prefix(6).allSatisfy { $0 <= $1 }, "\(pauses)")
        #expect(pauses.suffix(2).allSatisfy { (.milliseconds(2_500) ... .seconds(5)).contains($0) })
        _ = open(&state, at: start)
        let later = start.advanced(by: .seconds(60))
        let last = pause(state.advance(.failed(refused, session: state.session), at: later))
        #expect(try #require(last) <= .milliseconds(50))
    }

    // A table of 1,000 rows, each of its own key, and a destination that refuses all.
    @Test func noMoreKeysWaitThanAreAllowedAndOneReadBringsHoweverOftenTheyAreTried() throws {
        var configuration = OutboxPublisher.Configuration()
        configuration.maximumWithheldKeys = 10
        configuration.retry.maximumAttempts = 1_000
        var state = begun(configuration)
        var now = start
        var tried: Set<Int64> = []
        var attempts = 0
        var next = open(&state, slots: [0], at: now)
        while attempts < 2_000 {
            guard let read = next.first else {
                now = try #require(state.deadline(after: now))
                let actions = state.advance(.timer, at: now)
                next = reads(actions)
                for action in actions {
                    guard case .balance = action else { continue }
                    let share = OutboxShare(slots: [0], publishers: 1)
                    next += reads(state.advance(.balanced(share, session: 0), at: now))
                }
                continue
            }
            let withheld = read.request.withheldKeys[0] ?? []
            let rows = (0..<1_000).lazy.map { event($0) }.filter { !withheld.contains($0.message.key ?? []) }
            let answer = Array(rows.prefix(read.request.limitPerSlot))
            let published = state.advance(.read(read.ticket, answer), at: now)
            next = reads(published)
            for case .publish(let ticket, _, let events) in published {
                tried.formUnion(events.map(\.id.number))
                attempts += events.count
                // Due at other times each.
                let no = events.map { event in
                    let wait = Duration.milliseconds(100 + 37 * (event.id.number % 11))
                    return OutboxOutcome.rejected(reason: "no", isRetriable: true, retryAfter: wait)
                }
                next += reads(state.advance(.published(ticket, no), at: now))
            }
        }
        #expect(tried.count <= 110, "\(tried.count) keys wait")
    }

    /// Which slots are said to be busy a second after one event had this outcome.
    private func busy(after outcome: OutboxOutcome) throws -> Set<Int>? {
        var state = begun(manyPlaces: true)
        let read = try #require(open(&state, slots: [3], at: start).first)
        _ = state.advance(.read(read.ticket, [event(1, slot: 3)]), at: start)
        for next in reads(state.advance(.published(read.ticket, [outcome]), at: start)) {
            _ = state.advance(.read(next.ticket, []), at: start)
        }
        // Before its retry is due the publisher says a word.
        let actions = state.advance(.timer, at: start.advanced(by: .seconds(1)))
        return actions.compactMap { if case .balance(let busy) = $0 { busy } else { nil } }.first
    }

    @Test func aSlotIsKeptForAVerdictsRetryAndNotForAPlaceThatDoesNotAnswer() throws {
        #expect(try busy(after: .unavailable(reason: "away", retryAfter: .seconds(20))) == [])
        #expect(try busy(after: .rejected(reason: "no", isRetriable: true, retryAfter: .seconds(20))) == [3])
    }

    @Test func timesOfAnyLengthAreNoLongerThanCanBeSleptFor() {
        var configuration = OutboxPublisher.Configuration()
        let ages = Duration.seconds(Int64.max)
        configuration.batchTimeout = ages
        configuration.minimumPollInterval = ages
        configuration.maximumPollInterval = ages
        configuration.retry.delay = ages
        configuration.retry.maximumDelay = ages
        configuration.retry.unroutablePatience = ages
        let used = configuration.inRange
        let times = [
            used.batchTimeout, used.minimumPollInterval, used.maximumPollInterval, used.retry.delay,
            used.retry.maximumDelay, used.retry.unroutablePatience,
        ]
        #expect(times.allSatisfy { $0 == .seconds(1_000_000_000) }, "\(times)")
    }
}
