import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Retry and dead-letter topics that no broker can have are refused before anything is read.
@Suite(.timeLimit(.minutes(5)))
struct RefusedTopicTests {
    @Test func aTopicWhoseDeadLettersHaveNoPossibleTopicIsRefusedAtTheBeginning() async throws {
        let cluster = try TestCluster()
        let long = String(repeating: "t", count: 246)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let transactional = try cluster.transactionalProducer()
        let consumer = try KafkaConsumer(cluster.consumerConfiguration(topics: ["orders", long]), logger: .test)
        let deadLetters = KafkaDeadLetters(producer: producer)
        let spaced = KafkaDeadLetters(producer: producer, topicName: { "dead \($0)" })
        let retryTopics = KafkaRetryTopics(delays: [.seconds(5)], producer: producer)
        let errors = [
            await kafkaError { try await consumer.forEach(deadLetters: deadLetters) { _ in } },
            await kafkaError { try await consumer.forEach(deadLetters: spaced) { _ in } },
            await kafkaError { try await consumer.forEach(retry: .none, retryTopics: retryTopics) { _ in } },
            await kafkaError { try await consumer.forEach(deadLetters: KafkaDeadLetters()) { _ in } },
            await kafkaError {
                try await consumer.forEachBatch(maximumCount: 2, maximumWait: .zero, deadLetters: deadLetters) { _ in }
            },
            await kafkaError {
                try await consumer.transform(through: transactional, deadLetters: KafkaDeadLetters()) { _ in [] }
            },
        ]
        for error in errors { #expect(error?.kind == .invalidConfiguration) }
        #expect(errors[0]?.reason.contains("250 bytes") == true)
        #expect(errors[1]?.reason.contains("dead orders") == true)
        await consumer.close()
        await producer.close()
        await transactional.close()
    }
}
