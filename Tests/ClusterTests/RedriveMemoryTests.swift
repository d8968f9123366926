import KafkaDelivery
import KafkaDeliveryTesting
import ServiceLifecycle
import Testing

/// What was redriven is remembered, for each dead letter by itself, and what was left stays.
@Suite(.timeLimit(.minutes(5)))
struct RedriveMemoryTests {
    @Test func aFilteredRunLeavesTheOthersForALaterOneAndNothingIsRedrivenTwice() async throws {
        let fixture = try await RedriveFixture()
        try await fixture.add(30) { $0.isMultiple(of: 3) ? "declined" : "expired" }
        let first = try await fixture.run { $0.filter.error = "declined" }
        #expect(first.redriven == 10)
        #expect(first.filtered == 20)
        #expect(try await fixture.committed() == 1, "the first that is left is not committed past")

        let second = try await fixture.run { $0.filter.error = "declined" }
        #expect(second.redriven == 0)
        #expect(second.redrivenBefore == 9, "those behind the first that is left are remembered one by one")

        let third = try await fixture.run()
        #expect(third.redriven == 20)
        #expect(try await fixture.committed() == 30)
        let last = try await fixture.run()
        #expect(last == KafkaRedrive.Summary())

        let replays = try await fixture.replays().compactMap { Int($0) }
        #expect(
            replays == Array(0..<30).filter { $0.isMultiple(of: 3) } + Array(0..<30).filter { !$0.isMultiple(of: 3) }
        )
        await fixture.producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func whatWasConfirmedAndNotRememberedIsRedrivenOnceMore() async throws {
        let fixture = try await RedriveFixture()
        try await fixture.add(2)
        try fixture.cluster.mock.inject([.groupAuthorizationFailed], into: .offsetCommit)
        let redriven = Shared(0)
        let redrive = KafkaRedrive(fixture.configuration, logger: .test)
        let error = await #expect(throws: KafkaError.self) {
            try await redrive.run(with: fixture.producer) { _, outcome in
                if case .redriven = outcome { redriven.change { $0 += 1 } }
            }
        }
        #expect(error?.kind == .authorization)
        #expect(redriven.value == 2)
        #expect(try await fixture.run().redriven == 2, "at least once: rather twice than not at all")
        #expect(try await fixture.replays() == ["0", "1", "0", "1"])
        await fixture.producer.close()
    }

    @Test func whatIsNoDeadLetterIsToldOfAndLeft() async throws {
        let fixture = try await RedriveFixture()
        try await fixture.producer.send(KafkaMessage(topic: fixture.letters, value: "whose is this?"))
        try await fixture.add(2)
        let summary = try await fixture.run()
        #expect(summary.redriven == 2)
        #expect(summary.notDeadLetters == 1)
        #expect((try await fixture.committed() ?? 0) == 0, "it is not committed past")
        let again = try await fixture.run()
        #expect(again.redriven == 0)
        #expect(again.notDeadLetters == 1)
        #expect(again.redrivenBefore == 2)
        await fixture.producer.close()
    }

    @Test func theMaximumEndsARunAndTheNextOneGoesOn() async throws {
        let fixture = try await RedriveFixture()
        try await fixture.add(10)
        let first = try await fixture.run { $0.maximumCount = 4 }
        #expect(first.redriven == 4)
        #expect(first.reachedMaximum)
        #expect(try await fixture.committed() == 4)
        let second = try await fixture.run()
        #expect(second.redriven == 6)
        #expect(!second.reachedMaximum)
        #expect(try await fixture.replays() == (0..<10).map(String.init))
        await fixture.producer.close()
    }

    @Test func aCancelledRunRemembersWhatWasConfirmed() async throws {
        let fixture = try await RedriveFixture()
        try await fixture.add(50)
        var configuration = fixture.configuration
        configuration.maximumRate = 10
        let redriven = Shared(0)
        let redrive = KafkaRedrive(configuration, logger: .test)
        let running = Task {
            try await redrive.run(with: fixture.producer) { _, _ in redriven.change { $0 += 1 } }
        }
        try await redriven.wait { $0 >= 5 }
        running.cancel()
        await #expect(throws: CancellationError.self) { try await running.value }
        let count = redriven.value
        #expect(count < 50)
        #expect(try await fixture.committed() == Int64(count))
        #expect(try await fixture.run().redriven == 50 - count)
        #expect(try await fixture.replays() == (0..<50).map(String.init))
        await fixture.producer.close()
    }

    @Test func aRunInAServiceThatIsShutDownRemembersWhatWasConfirmed() async throws {
        struct Redriving: Service {
            let redrive: KafkaRedrive
            let producer: KafkaProducer
            let redriven: Shared<Int>

            func run() async throws {
                await #expect(throws: CancellationError.self) {
                    try await redrive.run(with: producer) { _, _ in redriven.change { $0 += 1 } }
                }
            }
        }
        for attempt in 1...3 {
            let fixture = try await RedriveFixture()
            try await fixture.add(50)
            var configuration = fixture.configuration
            configuration.maximumRate = 10
            let service = Redriving(
                redrive: KafkaRedrive(configuration, logger: .test),
                producer: fixture.producer,
                redriven: Shared(0)
            )
            let group = ServiceGroup(services: [service], logger: .test)
            let running = Task { try await group.run() }
            try await service.redriven.wait { $0 >= 5 }
            await group.triggerGracefulShutdown()
            try await running.value
            let count = service.redriven.value
            #expect(count < 50)
            let committed = try await fixture.committed() ?? 0
            // A mock group may rebalance a second time by itself, and refuses the commits of the generation before from then on.
            let isRefused = TestCluster.isMock && attempt < 3 && committed < Int64(count)
            if !isRefused {
                #expect(committed == Int64(count))
                #expect(try await fixture.run().redriven == 50 - count)
            }
            await fixture.producer.close()
            if !isRefused { break }
        }
    }

    @Test func twoRunsAtTheSameTimeShareTheWork() async throws {
        let fixture = try await RedriveFixture(partitions: 4)
        for partition in 0..<4 { try await fixture.add(25, partition: partition) }
        async let one = fixture.run()
        async let other = fixture.run()
        let sums = try await (one, other)
        #expect(sums.0.redriven + sums.1.redriven >= 100)
        for partition in 0..<4 {
            let replays = try await fixture.replays(partition)
            #expect(Set(replays) == Set((0..<25).map(String.init)))
            // A mock group begins its next generation when a rebalance begins, and refuses the commits of the last one.
            if !TestCluster.isMock { #expect(replays == (0..<25).map(String.init)) }
        }
        await fixture.producer.close()
    }

    @Test func whatCouldNotBeRememberedIsNotSentYet() async throws {
        let fixture = try await RedriveFixture()
        let count = 4_200
        try await fixture.add(count) { $0.isMultiple(of: 2) ? "declined" : "expired" }
        let first = try await fixture.run { $0.filter.error = "declined" }
        #expect(first.scatteredPartitions == [0])
        #expect((1_900..<count / 2).contains(first.redriven))
        let second = try await fixture.run()
        #expect(second.scatteredPartitions.isEmpty)
        #expect(first.redriven + second.redriven == count)
        #expect(try await fixture.committed() == Int64(count))
        let replays = try await fixture.replays()
        #expect(replays.count == count)
        #expect(Set(replays) == Set((0..<count).map(String.init)))
        await fixture.producer.close()
    }
}
