import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// What one period of owning a partition may not do to the next.
@Suite(.timeLimit(.minutes(5)))
struct ConsumerGenerationTests {
    /// The listener on a partition's queue belongs to librdkafka's queue, which both generations share.
    @Test func aDeliveryOfAnOldGenerationThatIsLetGoOfDoesNotSilenceTheNewOne() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 1)
        // Eager, so that everything is revoked and assigned again when a second member joins and leaves.
        var configuration = cluster.quickConsumer(topic, strategy: .range)
        configuration.revocationTimeout = .milliseconds(50)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        var held = try await consumer.take(2)
        #expect(Set(held.map(\.generation)) == [1])

        let events = consumer.events
        let other = try KafkaConsumer(configuration, logger: .test)
        let otherLoop = Task { for try await _ in other.deliveries {} }
        _ = try await events.first { event in
            if case .assigned(let partitions, 2) = event { partitions.count } else { nil }
        }
        await other.close()
        try await otherLoop.value
        _ = try await events.first { event in
            if case .assigned(let partitions, 3) = event { partitions.count } else { nil }
        }
        // Both come again, unsettled as they were, with the new generation; only then do the old ones go.
        var again: [KafkaConsumer.Delivery] = []
        for try await delivery in consumer.deliveries {
            // On a busy machine the group may go through more generations than those two.
            again.removeAll { $0.generation < delivery.generation }
            again.append(delivery)
            if again.count == 2 { break }
        }
        #expect(Set(again.map(\.partition)) == [0, 1])
        #expect(again.allSatisfy { $0.generation >= 3 })
        for delivery in again { delivery.acknowledge() }
        held.removeAll()

        try await cluster.fill(topic, partitions: 2, count: 1, from: 1)
        let next = try await consumer.take(2)
        #expect(next.map(\.text) == ["1", "1"])
        for delivery in next { delivery.acknowledge() }
        let summary = await consumer.close()
        #expect(summary.unsettled == 0)
    }

    /// librdkafka counts the time since a partition was read last towards max.poll.interval.ms, also of a consumer whose
    /// topic is quiet.
    @Test(.enabled(if: TestCluster.isMock, "a first join takes 3 s there, which is the clock of this test"))
    func aConsumerOfAQuietTopicStaysInItsGroup() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        var configuration = cluster.quickConsumer(topic)
        configuration.additionalProperties["max.poll.interval.ms"] = "6000"
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let (first, firstCame) = AsyncStream.makeStream(of: Void.self)
        let loop = Task {
            var generations: [Int] = []
            for try await delivery in consumer.deliveries {
                generations.append(delivery.generation)
                delivery.acknowledge()
                firstCame.yield()
            }
            return generations
        }
        for await _ in first { break }
        // Three times as long as nobody may be away.
        for _ in 0..<6 {
            try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { other in
                _ = try await other.take(1)
            }
        }
        try await cluster.fill(topic, count: 1, from: 1)
        for await _ in first { break }
        await consumer.close()
        #expect(try await loop.value == [1, 1])
    }
}
