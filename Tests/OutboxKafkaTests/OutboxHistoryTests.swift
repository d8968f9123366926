import Foundation
import Synchronization
import Testing

// A part that hangs ends the run, and says so.
@Suite(.serialized, .timeLimit(.minutes(30)))
struct OutboxHistoryTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let seeds: [UInt64] = {
        let first = environment["OUTBOX_HISTORY_FIRST_SEED"].flatMap { UInt64($0) } ?? 1
        let count = environment["OUTBOX_HISTORY_SEEDS"].flatMap { UInt64($0) } ?? 1
        return Array(first..<first + max(count, 1))
    }()
    private static let events = environment["OUTBOX_HISTORY_EVENTS"].flatMap { Int($0) } ?? 4_000

    /// On a real cluster.
    private static let isExactlyOnce =
        ExactlyOnceFixture.realServers != nil && environment["OUTBOX_HISTORY_EXACTLY_ONCE"] == "1"

    @Test(arguments: seeds)
    func noEventIsLostFirstOccurrencesAreInOrderAndRepetitionsHaveTheSameKey(_ seed: UInt64) async throws {
        let run = try await OutboxHistoryRun(seed: seed, eventCount: Self.events, isExactlyOnce: Self.isExactlyOnce)
        let result = try await run.run()
        let faults = Dictionary(run.faults.withLock { $0 }.map { ($0, 1) }, uniquingKeysWith: +)
        let told = faults.sorted { $0.key < $1.key }.map { "\($0.value) × \($0.key)" }.joined(separator: ", ")
        print(
            """
            outbox history, seed \(seed): \(result.committed) events committed, \(result.arrived) arrived, \
            \(result.duplicates) repeated, \(result.anomalies.count) anomalies; \(told)
            """
        )
        #expect(result.anomalies.prefix(20) == [])
        // What is under way at a fault comes again: from the publisher that lost it, and from the slot's next owner.
        let faultCount = run.faults.withLock { $0.count }
        #expect(result.duplicates == 0 || !Self.isExactlyOnce)
        #expect(result.mostOften <= 1 + 2 * faultCount)
        #expect(run.belowFloor.load(ordering: .relaxed) == 0)
    }

    @Test func theCheckerFindsEachAnomaly() {
        typealias Event = OutboxHistory.Event
        let one = Event(key: "a", number: 1)
        let two = Event(key: "a", number: 2)
        let three = Event(key: "b", number: 1)
        let result = OutboxHistory.check(
            committed: [one, two, three],
            arrived: [(two, "2"), (one, "1"), (one, "other"), (Event(key: "c", number: 1), "3"), (two, "2")]
        )
        #expect(
            Set(result.anomalies) == [
                .disordered(one, after: two), .otherIdempotencyKey(one), .neverCommitted(Event(key: "c", number: 1)),
                .lost(three),
            ]
        )
        #expect(result.mostOften == 2)
        let repeated = OutboxHistory.check(
            committed: [one, two],
            arrived: [(one, "1"), (one, "1"), (two, "2"), (one, "1")]
        )
        #expect(repeated.anomalies.isEmpty && repeated.duplicates == 2 && repeated.mostOften == 3)
    }
}
