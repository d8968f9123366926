import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import MetricsTestKit
import Testing

/// A producer that is done says nothing of the messages whose copies it does not send: they wait for another producer.
@Suite(.timeLimit(.minutes(5)))
struct DoneProducerTests {
    struct Failure: Error {}

    @Test func whatARetryProducerThatIsClosedDoesNotSendIsNoDeadLetterAndWaits() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.makeTopic(exactly: topic + "-dlt")
        try await cluster.makeTopic(exactly: topic + "-retry-1h")
        try await cluster.fill(topic, count: 1)
        let closed = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        await closed.close()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let (logger, lines) = LogRecorder.logger()
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: logger)
        let events = consumer.events
        let handling = Task {
            try await consumer.forEach(
                retry: .none,
                retryTopics: KafkaRetryTopics(delays: [.seconds(3_600)], producer: closed),
                deadLetters: KafkaDeadLetters(producer: producer)
            ) { _ in throw Failure() }
        }
        var attempts = 0
        for await event in events {
            if case .deadLettered = event { Issue.record("it could be handed over again"); break }
            guard case .retryFailed(_, let error) = event else { continue }
            #expect(error.kind == .closed)
            attempts += 1
            if attempts == 3 { break }
        }
        #expect(attempts == 3)
        let summary = await consumer.close()
        try await handling.value
        #expect(summary.unsettled == 1)
        #expect(lines.value.filter { $0.level == .error }.count == 1, "said once")
        #expect(!lines.value.contains { $0.message.contains("never be stored") })
        #expect(try await Kcat(cluster).count(topic + "-dlt", partition: 0) == 0)
        await producer.close()
    }

    @Test func aLetterWhoseProducerIsClosedIsNotCalledImpossibleNorHandedOver() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        let closed = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        await closed.close()
        let metrics = TestMetrics()
        var configuration = cluster.quickConsumer(topic)
        configuration.metricsFactory = metrics
        let (logger, lines) = LogRecorder.logger()
        let consumer = try KafkaConsumer(configuration, logger: logger)
        let events = consumer.events
        let handling = Task {
            try await consumer.forEach(
                retry: .none,
                deadLetters: KafkaDeadLetters(
                    producer: closed,
                    onRefusal: .handOver { _, _, _ in Issue.record("the letter can be stored") }
                )
            ) { _ in throw Failure() }
        }
        var attempts = 0
        for await event in events {
            switch event {
            case .deadLetterRefused, .handedOver: Issue.record("\(event)")
            case .deadLetterFailed(_, let error):
                #expect(error.kind == .closed)
                attempts += 1
            default: break
            }
            if attempts == 3 { break }
        }
        let summary = await consumer.close()
        try await handling.value
        #expect(summary.unsettled == 1)
        let errors = lines.value.filter { $0.level == .error }
        #expect(errors.count == 1, "said once")
        #expect(errors.first?.message.contains("closed or has failed") == true)
        let labels = [("client_id", configuration.clientID), ("group", configuration.group)]
        let refusals = try metrics.expectCounter("kafka_consumer_dead_letter_refusals_total", labels).totalValue
        #expect(refusals == 0)
    }
}
