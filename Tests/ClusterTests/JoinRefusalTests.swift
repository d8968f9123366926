import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// A member that the coordinator will never let in, in the classic protocol.
@Suite(.timeLimit(.minutes(5)))
struct JoinRefusalTests {
    @Test func aMemberWithAStrategyThatTheGroupDoesNotHaveEndsAndNamesIt() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        let configuration = cluster.quickConsumer(topic, groupProtocol: .classic)
        let other = try KafkaConsumer(
            cluster.quickConsumer(topic, group: configuration.group, strategy: .range),
            logger: .test
        )
        if TestCluster.isMock {
            // A mock group takes any member.
            try cluster.mock.inject(.init(repeating: .inconsistentGroupProtocol, count: 100), into: .joinGroup)
        } else {
            #expect(try await other.takeOffsets(1) == [0])
        }
        let consumer = try KafkaConsumer(configuration, logger: .test)
        for _ in 0..<2 {
            let error = try await #require(throws: KafkaError.self) { try await consumer.take(1) }
            #expect(error.recovery == .fixRequest)
            #expect(error.code == "INCONSISTENT_GROUP_PROTOCOL")
            #expect(error.reason.contains("the group \(configuration.group) cannot be joined"))
            #expect(error.reason.contains("assignmentStrategies (cooperative-sticky)"))
        }
        await other.close(within: .seconds(5))
        let summary = await expectWithin(.seconds(10)) { await consumer.close(within: .seconds(30)) }
        #expect(summary.leftGroup)
    }

    @Test func aSessionTimeThatTheBrokersDoNotAllowEndsTheConsumerAndNamesTheSetting() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.quickConsumer(topic, groupProtocol: .classic)
        if TestCluster.isMock {
            try cluster.mock.inject(.init(repeating: .invalidSessionTimeout, count: 100), into: .joinGroup)
        } else {
            configuration.sessionTimeout = .seconds(3_600)
            configuration.additionalProperties["max.poll.interval.ms"] = "3600000"
        }
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let error = try await #require(throws: KafkaError.self) { try await consumer.take(1) }
            #expect(error.recovery == .fixRequest)
            #expect(error.reason.contains("sessionTimeout"))
        }
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults")) func aMemberThatIsRefusedForAWhileGoesOn() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        try cluster.mock.inject([.coordinatorNotAvailable, .rebalanceInProgress], into: .joinGroup)
        try await withKafkaConsumer(cluster.quickConsumer(topic, groupProtocol: .classic), logger: .test) { consumer in
            let offsets = try await consumer.takeOffsets(1)
            #expect(offsets == [0])
        }
    }
}
