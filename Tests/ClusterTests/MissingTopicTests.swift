import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// A topic that is missing where a copy of a message should go: nothing is skipped until somebody makes it.
@Suite(.enabled(if: TestCluster.isMock, "a mock cluster makes topics appear"), .timeLimit(.minutes(5)))
struct MissingTopicTests {
    private struct Failure: Error {}

    @Test func aMessageIsNotSettledBeforeItsDeadLetterTopicIsThere() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let letters = try await cluster.makeTopic(name: "letters")
        try await cluster.fill(topic, count: 2)
        try cluster.mock.setError(.unknownTopicOrPartition, forTopic: letters)
        var settings = cluster.producerConfiguration()
        // How long librdkafka waits for a new topic to be known everywhere, 30 s by default.
        settings.additionalProperties["topic.metadata.propagation.max.ms"] = "100"
        let producer = try KafkaProducer(settings, logger: .test)
        let configuration = cluster.quickConsumer(topic)
        let offsets = GroupOffsets(cluster, configuration.group)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            async let handling: Void = consumer.forEach(
                retry: .none,
                deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
            ) { delivery in if delivery.offset == 0 { throw Failure() } }
            let error = try await events.first { event in
                if case .deadLetterFailed(_, let error) = event { error } else { nil }
            }
            #expect(error.kind == .unknownTopicOrPartition)
            #expect(error.reason.contains(letters))
            #expect(try await offsets.committed(topic) == nil)
            try cluster.mock.setError(.none, forTopic: letters)
            let source = try await events.first { event in
                if case .deadLettered(let source, _) = event { source } else { nil }
            }
            #expect(source.offset == 0)
            try await waitUntil { try await offsets.committed(topic) == 2 }
            await consumer.close()
            try await handling
        }
        #expect(try await Kcat(cluster).count(letters, partition: 0) == 1)
        await producer.close()
    }
}
