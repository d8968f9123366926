import KafkaDelivery
import KafkaDeliveryTesting
import MetricsTestKit
import Testing

/// What the metrics backend is told, by the names that the documentation has.
@Suite(.timeLimit(.minutes(5)))
struct MetricsTests {
    @Test func aProducerTellsWhatItSentConfirmedAndFailed() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let metrics = TestMetrics()
        var configuration = cluster.producerConfiguration()
        configuration.metricsFactory = metrics
        configuration.clientID = "shop"
        let producer = try KafkaProducer(configuration, logger: .test)
        for number in 0..<20 {
            _ = try await producer.send(KafkaMessage(topic: topic, value: "\(number)"))
        }
        await #expect(throws: KafkaError.self) {
            _ = try await producer.send(KafkaMessage(topic: topic, partition: 99, value: "nowhere"))
        }
        await producer.close()
        let labels = [("client_id", "shop")]
        func total(_ name: String, _ labels: [(String, String)]) throws -> Int64 {
            try metrics.expectCounter(name, labels).totalValue
        }
        let failed =
            metrics.counters(label: "kafka_producer_messages_failed_total")
            .filter { $0.dimensions.contains { $0 == ("error", "unknownTopicOrPartition") } }
            .map(\.totalValue).reduce(0, +)
        #expect(try total("kafka_producer_messages_confirmed_total", labels) == 20)
        // A partition that the client knows not to exist is refused at once, and never sent.
        #expect(try total("kafka_producer_messages_sent_total", labels) == 20 + failed)
        #expect(failed <= 1)
        #expect(try metrics.expectGauge("kafka_producer_messages_in_flight", labels).lastValue == 0)
        let latencies = try metrics.expectTimer("kafka_producer_confirmation_seconds", labels).values
        #expect((1...20).contains(latencies.count))
        #expect(latencies.allSatisfy { $0 > 0 && $0 < 60_000_000_000 })
    }

    @Test func whatIsNotTakenForSendingIsNotCountedAsSent() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let metrics = TestMetrics()
        var configuration = cluster.producerConfiguration()
        configuration.metricsFactory = metrics
        // Each time that the producer's thread looks.
        configuration.metricsInterval = .zero
        configuration.clientID = "shop"
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "small"))
        let inFlight = try metrics.expectGauge("kafka_producer_messages_in_flight", [("client_id", "shop")])
        for _ in 0..<20 {
            await #expect(throws: KafkaError.self) {
                try await producer.send(KafkaMessage(topic: topic, value: [UInt8](repeating: 1, count: 20_000_000)))
            }
            // The next time that metrics are brought up to date.
            let count = inFlight.values.count
            try await waitUntil { inFlight.values.count > count }
        }
        #expect(inFlight.lastValue == 0)
        await producer.close()
        let sent = try metrics.expectCounter("kafka_producer_messages_sent_total", [("client_id", "shop")])
        #expect(sent.totalValue == 1)
    }

    @Test func aConsumerTellsWhatBecameOfItsDeliveries() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 10)
        let metrics = TestMetrics()
        var configuration = cluster.quickConsumer(topic)
        configuration.metricsFactory = metrics
        configuration.clientID = "till"
        let labels = [("client_id", "till"), ("group", configuration.group)]
        func total(_ name: String) throws -> Int64 {
            try metrics.expectCounter("kafka_consumer_\(name)_total", labels).totalValue
        }
        let consumer = try KafkaConsumer(configuration, logger: .test)
        var deliveries = try await consumer.take(20)
        for delivery in deliveries.prefix(17) { delivery.acknowledge() }
        deliveries[17].negativelyAcknowledge()
        let again = try await consumer.take(1)
        again[0].acknowledge()
        try await consumer.commit()
        let unsettled = Array(deliveries.suffix(2))
        deliveries = []
        let summary = await consumer.close(within: .seconds(3))
        #expect(summary.unsettled == 2)
        for delivery in unsettled { delivery.acknowledge() }

        #expect(try total("deliveries") == 20)
        #expect(try total("redeliveries") == 1)
        #expect(try total("acknowledgements") == 18)
        #expect(try total("negative_acknowledgements") == 1)
        #expect(try total("commits") >= 1)
        #expect(try total("commit_failures") == 0)
        #expect(try total("late_verdicts") == 0)
        #expect(try metrics.expectGauge("kafka_consumer_assigned_partitions", labels).lastValue == 0)
        // They were told while there was something to tell: at the first assignment.
        #expect(try metrics.expectGauge("kafka_consumer_unsettled_deliveries", labels).values.isEmpty == false)
        #expect(try metrics.expectGauge("kafka_consumer_oldest_unsettled_seconds", labels).values.isEmpty == false)
    }

    @Test func lagAndAgeAreToldWhileAPartitionIsAssigned() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let metrics = TestMetrics()
        var configuration = cluster.quickConsumer(topic)
        configuration.metricsFactory = metrics
        configuration.metricsInterval = .milliseconds(50)
        // Long beside the moment between taking deliveries and acknowledging four of them, also on a busy machine.
        configuration.handlerTimeout = .seconds(10)
        let labels = [("client_id", configuration.clientID), ("group", configuration.group)]
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let deliveries = try await consumer.take(6)
        for delivery in deliveries.prefix(4) { delivery.acknowledge() }
        let lagLabels = labels + [("topic", topic), ("partition", "0")]
        try await waitUntil {
            (try? metrics.expectGauge("kafka_consumer_partition_lag", lagLabels))?.lastValue == 6
        }
        let unsettled = try metrics.expectGauge("kafka_consumer_unsettled_deliveries", labels)
        #expect(unsettled.lastValue == 2)
        try await waitUntil {
            (try? metrics.expectCounter("kafka_consumer_stuck_deliveries_total", labels))?.totalValue == 2
        }
        let age = try metrics.expectGauge("kafka_consumer_oldest_unsettled_seconds", labels)
        try await waitUntil { age.lastValue ?? 0 >= 10 }
        #expect(age.values.contains { $0 < 10 })
        for delivery in deliveries { delivery.acknowledge() }
        await consumer.close()
        // What is not ours any more is nobody's to tell.
        #expect(throws: (any Error).self) { try metrics.expectGauge("kafka_consumer_partition_lag", lagLabels) }
    }
}
