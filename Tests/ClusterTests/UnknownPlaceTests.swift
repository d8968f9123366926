import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// librdkafka asks for a topic's partitions every five minutes. What was added meanwhile can be sent to at once.
@Suite(.timeLimit(.minutes(5)))
struct UnknownPlaceTests {
    @Test(.enabled(if: !TestCluster.isMock, "a mock's topics do not grow"))
    func aPartitionThatWasJustAddedIsSentTo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try await TopicAdministration(cluster.bootstrapServers).addPartitions(to: topic, upTo: 3)
        #expect(try await producer.send(KafkaMessage(topic: topic, partition: 2, value: "one")).partition == 2)
        let more = (0..<100).map { KafkaMessage(topic: topic, partition: $0 % 3, value: "\($0)") }
        for result in await producer.send(contentsOf: more) { _ = try result.get() }
        await producer.close()
    }

    @Test(.enabled(if: !TestCluster.isMock, "a mock's topics do not grow"))
    func oneOfManyToAPartitionThatWasJustAddedIsSentToo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try await TopicAdministration(cluster.bootstrapServers).addPartitions(to: topic, upTo: 2)
        let messages = (0..<1_000).map { KafkaMessage(topic: topic, partition: $0 % 2, value: "\($0)") }
        for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        await producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aTopicThatWasJustMadeIsSentTo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try cluster.mock.setError(.unknownTopicOrPartition, forTopic: topic)
        var configuration = cluster.producerConfiguration()
        configuration.additionalProperties = ["topic.metadata.propagation.max.ms": "100"]
        let producer = try KafkaProducer(configuration, logger: .test)
        let failure = await kafkaError { try await producer.send(KafkaMessage(topic: topic, value: "too early")) }
        #expect(failure?.kind == .unknownTopicOrPartition)
        try cluster.mock.setError(.none, forTopic: topic)
        #expect(try await producer.send(KafkaMessage(topic: topic, value: "one")).offset == 0)
        await producer.close()
    }

    @Test func whatIsNotThereIsRefusedSoonHoweverOftenAndForEachOfMany() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        let start = ContinuousClock.now
        let messages = (0..<100).map { KafkaMessage(topic: topic, partition: $0 < 50 ? 0 : 7, value: "\($0)") }
        for (number, result) in await producer.send(contentsOf: messages).enumerated() {
            switch result {
            case .success: #expect(number < 50)
            case .failure(let error): #expect((error.kind, error.recovery) == (.unknownTopicOrPartition, .fixRequest))
            }
        }
        // Five seconds for the first of them; each by itself would take minutes.
        #expect(start.duration(to: .now) < .seconds(20))
        await producer.close()
    }
}
