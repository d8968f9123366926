import KafkaDeliveryTesting
import Testing

@testable import KafkaDelivery

/// A member that goes does not leave a ghost behind, whatever the group is doing, in the classic protocol.
@Suite(.timeLimit(.minutes(5)))
struct ConsumerLeaveTests {
    private static func configuration(
        _ cluster: TestCluster,
        _ topic: String,
        _ strategy: KafkaConsumer.Configuration.AssignmentStrategy
    ) -> KafkaConsumer.Configuration {
        var configuration = cluster.quickConsumer(topic, strategy: strategy, groupProtocol: .classic)
        // On a real broker so long that nobody finds a ghost by its session while the test runs; a mock one's joins take as long.
        configuration.sessionTimeout = TestCluster.isMock ? .seconds(4) : .seconds(40)
        return configuration
    }

    /// The coordinator has been told.
    private static func expectLeave(_ cluster: TestCluster) throws {
        guard TestCluster.isMock else { return }
        let pending = try cluster.mock.pendingErrors(for: .leaveGroup, broker: 1)
        #expect(pending == 0)
    }

    @Test(arguments: [KafkaConsumer.Configuration.AssignmentStrategy.range, .cooperativeSticky])
    func aMemberThatIsClosedWhileItJoinsAgainLeavesItsGroup(
        strategy: KafkaConsumer.Configuration.AssignmentStrategy
    ) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 4)
        let configuration = Self.configuration(cluster, topic, strategy)
        let first = try KafkaConsumer(configuration, logger: .test)
        let events = first.events
        let firstLoop = Task { for try await _ in first.deliveries {} }
        _ = try await events.first { if case .assigned(let all, _) = $0, all.count == 4 { true } else { nil } }

        if TestCluster.isMock {
            // Both joins, and the leave, are let through; that they have arrived is what is waited for.
            try cluster.mock.inject([.none, .none], into: .joinGroup, broker: 1)
            try cluster.mock.inject([.none], into: .leaveGroup, broker: 1)
        }
        let second = try KafkaConsumer(configuration, logger: .test)
        let secondEvents = second.events
        let secondLoop = Task { for try await _ in second.deliveries {} }
        if TestCluster.isMock {
            // The first member's join is under way, and is answered after 3 s.
            try await waitUntil { try cluster.mock.pendingErrors(for: .joinGroup, broker: 1) == 0 }
        } else {
            _ = try await events.first { if case .revoked = $0 { true } else { nil } }
        }
        let summary = await first.close(within: .seconds(30))
        #expect(summary.leftGroup)
        try Self.expectLeave(cluster)
        try await firstLoop.value
        try await expectWithin(.seconds(20)) {
            var assigned: Set<KafkaTopicPartition> = []
            while assigned.count < 4 {
                try await secondEvents.first { event -> Void? in
                    switch event {
                    case .assigned(let partitions, _): assigned.formUnion(partitions)
                    case .revoked(let partitions, _), .lost(let partitions, _): assigned.subtract(partitions)
                    default: return nil
                    }
                    return ()
                }
            }
        }
        await second.close()
        try await secondLoop.value
    }

    @Test func aMemberThatIsClosedWhileItJoinsForTheFirstTimeLeavesItsGroup() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let consumer = try KafkaConsumer(Self.configuration(cluster, topic, .cooperativeSticky), logger: .test)
        if TestCluster.isMock {
            try cluster.mock.inject([.none], into: .joinGroup, broker: 1)
            try cluster.mock.inject([.none], into: .leaveGroup, broker: 1)
        }
        let loop = Task { for try await _ in consumer.deliveries {} }
        if TestCluster.isMock {
            try await waitUntil { try cluster.mock.pendingErrors(for: .joinGroup, broker: 1) == 0 }
        }
        let summary = await consumer.close(within: .seconds(30))
        #expect(summary.leftGroup)
        try Self.expectLeave(cluster)
        try await loop.value
    }

    @Test(.enabled(if: TestCluster.isMock, "a first join takes 3 s there"))
    func aMemberWhoseJoinIsNotAnsweredInTimeSaysSo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic, groupProtocol: .classic), logger: .test)
        try cluster.mock.inject([.none], into: .joinGroup, broker: 1)
        let loop = Task { for try await _ in consumer.deliveries {} }
        try await waitUntil { try cluster.mock.pendingErrors(for: .joinGroup, broker: 1) == 0 }
        let summary = await consumer.close(within: .seconds(1))
        #expect(!summary.leftGroup)
        try await loop.value
    }

    /// Its session has run out meanwhile, and so it joins as somebody new, whom the coordinator does not know yet.
    @Test(.enabled(if: TestCluster.isMock, "takes brokers down"))
    func aMemberThatIsClosedWhileItJoinsAgainAfterAnOutageLeavesItsGroup() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic, groupProtocol: .classic), logger: .test)
        let events = consumer.events
        let loop = Task { for try await _ in consumer.deliveries {} }
        _ = try await events.first { if case .assigned = $0 { true } else { nil } }
        try cluster.mock.takeDown()
        _ = try await events.first { if case .lost = $0 { true } else { nil } }
        try cluster.mock.inject([.none], into: .joinGroup, broker: 1)
        try cluster.mock.inject([.none], into: .leaveGroup, broker: 1)
        try cluster.mock.bringUp()
        try await waitUntil { try cluster.mock.pendingErrors(for: .joinGroup, broker: 1) == 0 }
        let summary = await consumer.close(within: .seconds(30))
        #expect(summary.leftGroup)
        try Self.expectLeave(cluster)
        try await loop.value
    }

    @Test(.enabled(if: TestCluster.isMock, "takes brokers down"))
    func aMemberThatIsClosedWhileItsCoordinatorIsAwayLeavesItsGroupWhenThatIsBack() async throws {
        for attempt in 1...3 {
            let cluster = try TestCluster()
            let topic = try await cluster.makeTopic()
            let consumer = try KafkaConsumer(cluster.quickConsumer(topic, groupProtocol: .classic), logger: .test)
            let events = consumer.events
            let loop = Task { for try await _ in consumer.deliveries {} }
            _ = try await events.first { if case .assigned = $0 { true } else { nil } }
            try cluster.mock.inject([.none], into: .leaveGroup, broker: 1)
            try cluster.mock.takeDown()
            // Before that it takes leave of a coordinator that does not hear it.
            try await waitUntil { consumer.core.client?.groupLog?.membership.maySayGoodbye == false }
            async let summary = consumer.close(within: .seconds(30))
            // Ends when closing has begun.
            try await loop.value
            try cluster.mock.bringUp()
            #expect(await summary.leftGroup)
            // On a machine that is busy for a session the coordinator has forgotten the member, and needs to hear nothing.
            if attempt < 3, try cluster.mock.pendingErrors(for: .leaveGroup, broker: 1) > 0 { continue }
            try Self.expectLeave(cluster)
            break
        }
    }
}
