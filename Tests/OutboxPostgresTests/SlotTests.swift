import OutboxDelivery
import Testing

@testable import OutboxPostgres

@Suite(.timeLimit(.minutes(5)))
struct SlotTests {
    private func slots(_ session: PostgresSession, busy: Set<Int> = []) async throws -> OutboxShare {
        try await session.balance(busy: busy)
    }

    @Test func publishersShareTheSlotsFairlyAndTakeOverWhatOneLeaves() async throws {
        let test = try await TestOutbox.make()
        let first = try await test.outbox.openSession()
        #expect(try await slots(first).slots == Set(0..<32))
        let second = try await test.outbox.openSession()
        #expect(try await slots(second) == OutboxShare(slots: [], publishers: 2))
        // What is in flight is not given back.
        let busy = Set(0..<20)
        #expect(try await slots(first, busy: busy).slots.isSuperset(of: busy))
        let one = try await slots(first).slots
        let other = try await slots(second).slots
        #expect(one.count == 16 && other.count == 16 && one.isDisjoint(with: other))
        await first.close()
        while try await slots(second).slots.count < 32 {}
        await second.close()
        await test.close()
    }

    @Test func aPublisherThatClosesTakesNoSlotAndLeavesTheOthersAllThatItDoesNotNeed() async throws {
        let test = try await TestOutbox.make()
        let closing = try await test.outbox.openSession()
        let other = try await test.outbox.openSession()
        #expect(try await closing.leave(busy: []).slots.isEmpty)
        #expect(try await slots(other) == OutboxShare(slots: Set(0..<32), publishers: 1))
        await other.close()

        let next = try await test.outbox.openSession()
        while try await slots(next).slots.count < 32 {}
        #expect(try await next.leave(busy: [7]) == OutboxShare(slots: [7], publishers: 1, surplus: 1))
        // Each second until its batch is done.
        #expect(try await next.leave(busy: [7]).slots == [7])
        let heir = try await test.outbox.openSession()
        #expect(try await slots(heir) == OutboxShare(slots: Set(0..<32).subtracting([7]), publishers: 1))
        #expect(try await next.leave(busy: []).slots.isEmpty)
        #expect(try await slots(heir).slots.count == 32)
        for session in [closing, next, heir] { await session.close() }
        await test.close()
    }

    /// A destination that answers nothing until it is given up.
    private struct Stuck: OutboxDestination {
        func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
            let (nothing, continuation) = AsyncStream.makeStream(of: Void.self)
            for await _ in nothing {}
            continuation.finish()
            return batch.map { _ in .unknown(reason: "given up") }
        }
    }

    @Test func aPublisherWhoseDestinationIsStuckGivesItsSlotsUpToOneWhoseIsNot() async throws {
        let test = try await TestOutbox.make()
        for number in 0..<64 { try await test.write(OutboxMessage(topic: "t", key: "k\(number)", payload: "")) }
        let stuck = test.publisher(Stuck()) { $0.batchTimeout = .milliseconds(300) }
        let recorder = Recorder()
        let sound = test.publisher(recorder)
        let task = Task { try await stuck.run() }
        // It has all slots, and all rows under way or to come.
        try await test.wait(
            until: 32,
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid < 32 AND classid = 'outbox'::regclass::oid"
        )
        try await running(sound) { await recorder.wait(for: 64) }
        #expect(Set(recorder.accepted.map(\.id)).count == 64 && recorder.accepted.count == 64)
        await stuck.close(within: .zero)
        try await task.value
        await test.close()
    }

    @Test func aPublisherThatStandsStillLosesItsSlotsAtTheTimeOutAndCanDeleteNothing() async throws {
        let test = try await TestOutbox.make { $0.sessionTimeout = .seconds(10) }
        try await test.write(OutboxMessage(topic: "t", key: "k", payload: ""))
        let still = try await test.outbox.openSession()
        #expect(try await slots(still).slots.count == 32)
        let slots = Array(0..<32)
        let request = OutboxReadRequest(destination: "kafka", slots: slots, limitPerSlot: 10, maximumBytes: 1_000)
        let events = try await still.read(request)
        #expect(events.count == 1)
        // Its session is ended by the server, which takes ten seconds: more than a busy machine may take between two statements.
        let next = try await test.outbox.openSession()
        while try await self.slots(next).slots.count < 32 {}
        var settlement = OutboxSettlement()
        settlement.accepted = events
        let error = await #expect(throws: OutboxError.self) { try await still.settle(settlement) }
        #expect(error?.kind == .unavailable)
        #expect(try await test.count() == 1)
        await still.close()
        await next.close()
        await test.close()
    }

    @Test func aSessionThatTheServerEndsIsGone() async throws {
        let test = try await TestOutbox.make()
        let session = try await test.outbox.openSession()
        _ = try await slots(session)
        let end = OutboxStatement(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 'outbox'::regclass::oid"
        )
        try await test.writer.query(end)
        let error = await #expect(throws: OutboxError.self) { while true { _ = try await slots(session) } }
        #expect(error?.kind == .unavailable)
        await session.close()
        await test.close()
    }

    // A pooler gives each transaction another session; then the locks are somebody else's.
    @Test func aSessionWithoutItsLocksIsFenced() async throws {
        let test = try await TestOutbox.make()
        let session = try await test.outbox.openSession()
        _ = try await slots(session)
        try await session.query(OutboxStatement("SELECT pg_advisory_unlock_all()"))
        let error = await #expect(throws: OutboxError.self) { _ = try await slots(session) }
        #expect(error?.kind == .fenced)
        await session.close()
        await test.close()
    }
}
