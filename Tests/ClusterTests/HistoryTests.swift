import Foundation
import KafkaDeliveryTesting
import Testing

@testable import TestMember

/// Which seeds are run.
enum HistorySeeds {
    static let all: ClosedRange<UInt64> = {
        func number(_ name: String) -> UInt64? { ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) } }
        // Short ones, with kills, a broken network and brokers that fail.
        let first = number("KAFKA_HISTORY_FIRST_SEED") ?? 6
        return first...(first + max(number("KAFKA_HISTORY_SEEDS") ?? 3, 1) - 1)
    }()
}

/// Whatever happens to a group, its history shows no broken promise.
///
/// Random handlers in every mode of concurrency, in members that join, leave and are killed, over brokers that fail. A
/// seed decides what happens, and a run says its seed. `KAFKA_HISTORY_SEEDS=20` runs so many, from seed
/// `KAFKA_HISTORY_FIRST_SEED` on, which is 6 where it is not set.
@Suite(.timeLimit(.minutes(2 * HistorySeeds.all.count + 3)))
struct HistoryTests {
    /// How many runs go on at a time: they wait for rebalances for the most part.
    private static let maximumRuns = 4

    /// What the cluster can promise. The mock brokers begin a group's next generation when a rebalance begins, so that what
    /// was just settled may come again.
    private static let kinds: Set<DeliveryHistory.Anomaly.Kind> = {
        let all = Set(DeliveryHistory.Anomaly.Kind.allCases)
        return TestCluster.isMock ? all.subtracting([.settledRedelivered]) : all
    }()

    @Test func noPromiseIsBrokenWhateverHappens() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, seed) in HistorySeeds.all.enumerated() {
                if number >= Self.maximumRuns { try await group.next() }
                group.addTask { try await Self.run(seed) }
            }
            try await group.waitForAll()
        }
    }

    private static func run(_ seed: UInt64) async throws {
        let plan = HistoryPlan(seed: seed, withFaults: TestCluster.isMock)
        let outcome = try await HistoryRun(plan).run()
        try outcome.judge(by: .init(kinds), seed: seed, steps: plan.steps.map { "\($0)" })
    }

    @Test func aPlanIsTheSameForItsSeed() {
        func plan(_ seed: UInt64) -> String { "\(HistoryPlan(seed: seed, withFaults: true))" }
        #expect(plan(7) == plan(7))
        #expect(plan(7) != plan(8))
        #expect(Fate(of: "12", seed: 7) == Fate(of: "12", seed: 7))
        let fates = (0..<1_000).map { Fate(of: "\($0)", seed: 7) }
        #expect(fates.contains(.poisonous))
        #expect(fates.contains(.hangs))
        #expect(fates.contains(.fails(times: 2)))
        #expect(fates.count { $0 == .succeeds } > 600)
    }
}
