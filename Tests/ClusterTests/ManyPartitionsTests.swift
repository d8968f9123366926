import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// What a consumer does for each of its partitions it must not do for each of all the others.
@Suite(.enabled(if: TestCluster.isMock, "makes ten thousand partitions"), .timeLimit(.minutes(5)))
struct ManyPartitionsTests {
    @Test func aConsumerOfTenThousandPartitionsClosesByItsDeadline() async throws {
        let cluster = try TestCluster()
        let topics = (0..<10).map { TestCluster.uniqueName("many\($0)") }
        for topic in topics { try await cluster.makeTopic(exactly: topic, partitions: 1_000) }
        try await cluster.fill(topics[0], count: 1)
        let partitions = topics.flatMap { topic in
            (0..<1_000).map { KafkaTopicPartition(topic: topic, partition: $0) }
        }
        let consumer = try KafkaConsumer(
            .init(bootstrapServers: cluster.bootstrapServers, partitions: partitions),
            logger: .test
        )
        let taken = try await consumer.take(1)
        #expect(consumer.assignment.count == 10_000)
        taken[0].acknowledge()
        // Its deadline, and what a busy machine or a sanitizer takes.
        await expectWithin(.seconds(14)) { await consumer.close(within: .seconds(4)) }
    }
}
