import KafkaDelivery
import KafkaDeliveryTesting
import MetricsTestKit
import Testing

/// What was acknowledged and could not be committed is told.
@Suite(.enabled(if: TestCluster.isMock, "takes brokers down"), .timeLimit(.minutes(5)))
struct LostAcknowledgementTests {
    @Test(arguments: [KafkaConsumer.Configuration.AssignmentStrategy.range, .cooperativeSticky])
    func whatWasAcknowledgedAndNotCommittedBeforeTheSessionRanOutIsTold(
        strategy: KafkaConsumer.Configuration.AssignmentStrategy
    ) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        try await cluster.fill(topic, count: 1_000)
        let metrics = TestMetrics()
        var configuration = cluster.quickConsumer(topic, strategy: strategy)
        // In the other protocol a member learns from the brokers that its session is over, and not from its own clock.
        configuration.useClassicGroupProtocol()
        configuration.commitInterval = .seconds(60)
        configuration.metricsFactory = metrics
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        let held = try await consumer.take(5)
        for delivery in held.prefix(2) { delivery.acknowledge() }
        try await consumer.commit()
        // One before, and one behind an unsettled one.
        held[2].acknowledge()
        held[4].acknowledge()

        try cluster.mock.takeDown()
        let told = Task {
            var told: [String] = []
            for await event in events {
                switch event {
                case .uncommitted(let counts): told.append("uncommitted \(counts)")
                case .lost(let partitions, let unsettled):
                    told.append("lost \(partitions) \(unsettled)")
                    return told
                default: break
                }
            }
            return told
        }
        // The session runs out by the consumer's own clock, and nothing is handed out any more, however much was fetched.
        #expect(await told.value == ["uncommitted [\(topic) [0]: 2]", "lost [\(topic) [0]] 1"])
        #expect(consumer.assignment.isEmpty)

        try cluster.mock.bringUp()
        #expect(try await consumer.takeOffsets(1) == [2])
        let summary = await consumer.close(within: .seconds(10))
        #expect(summary.uncommitted == [partition: 2])
        #expect(summary.uncommittedMessages == 2)
        #expect(summary.uncommittedPartitions == 1)
        let labels = [("client_id", configuration.clientID), ("group", configuration.group)]
        let counter = try metrics.expectCounter("kafka_consumer_uncommitted_acknowledgements_total", labels)
        #expect(counter.totalValue == 2)
    }

    @Test func whatAClosingConsumerCouldNotCommitIsCounted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 10)
        var configuration = cluster.quickConsumer(topic)
        configuration.commitInterval = .seconds(60)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        let taken = try await consumer.take(20)
        try cluster.mock.takeDown()
        for delivery in taken where delivery.partition == 1 && delivery.offset < 7 { delivery.acknowledge() }
        let summary = await consumer.close(within: .seconds(1))
        #expect(summary.uncommitted == [KafkaTopicPartition(topic: topic, partition: 1): 7])
        #expect(summary.unsettled == 13)
        let told = try await events.first { if case .uncommitted(let counts) = $0 { counts } else { nil } }
        #expect(told == summary.uncommitted)
    }
}
