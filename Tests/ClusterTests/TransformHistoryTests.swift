import Foundation
import KafkaDeliveryTesting
import Testing

@testable import TestMember

/// Processes that read, transform and send in transactions, and that are killed in the middle, over and over, while others
/// join and leave and the network fails: their history shows one output for each message, in order, and offsets that are
/// committed with it.
///
/// `KAFKA_HISTORY_SEEDS` and `KAFKA_HISTORY_FIRST_SEED` say which seeds are run, as for ``HistoryTests``.
@Suite(.timeLimit(.minutes(2 * HistorySeeds.all.count + 3)))
struct TransformHistoryTests {
    /// The mock cluster shows what was aborted, and does not keep offsets of transactions.
    @Test(.enabled(if: !TestCluster.isMock, "needs a real broker"))
    func processesThatAreKilledTransformEveryMessageExactlyOnce() async throws {
        for seed in HistorySeeds.all { try await Self.run(seed) }
    }

    private static func run(_ seed: UInt64) async throws {
        let outcome = try await TransformHistoryRun(TransformHistoryPlan(seed: seed)).run()
        try outcome.judge(by: .init(), seed: seed)
    }

    @Test func aPlanKillsAndIsTheSameForItsSeed() {
        func plan(_ seed: UInt64) -> String { "\(TransformHistoryPlan(seed: seed))" }
        #expect(plan(7) == plan(7))
        #expect(plan(7) != plan(8))
        for seed in UInt64(0)..<20 {
            let ends = TransformHistoryPlan(seed: seed).processes.flatMap { $0 }.map(\.end)
            let deaths = ends.count { if case .death = $0 { true } else { false } }
            #expect(deaths >= 4)
            #expect(ends.count { $0 == .none } == 3)
        }
    }
}
