import KafkaDelivery
import Testing

@Suite(.timeLimit(.minutes(5)))
struct ConsumerWindowTests {
    @Test func aFullWindowStopsItsPartitionOnlyAndGoesOnAfterAnAcknowledgement() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 100)
        var configuration = cluster.quickConsumer(topic)
        configuration.maximumUnsettledPerPartition = 10
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            // All of partition 1, and of partition 0 as many as the window holds.
            var held: [KafkaConsumer.Delivery] = []
            var others = 0
            while others < 100 || held.count < 10 {
                for delivery in try await consumer.take(1) {
                    if delivery.partition == 0 {
                        held.append(delivery)
                    } else {
                        delivery.acknowledge()
                        others += 1
                    }
                }
            }
            #expect(held.map(\.offset) == Array(0..<10))

            // Nothing more of partition 0: what is sent to partition 1 comes first, though it comes later.
            try await cluster.fill(topic, partitions: 2, count: 1, from: 100)
            let next = try await consumer.take(1)
            #expect(next[0].partition == 1)
            next[0].acknowledge()

            // An acknowledgement in the middle makes no room, because the window begins at the oldest unsettled.
            held[5].acknowledge()
            let waiting = Task { try await consumer.take(1) }
            held[0].acknowledge()
            let tenth = try await waiting.value
            #expect(tenth.map(\.offset) == [10])
            #expect(tenth.map(\.partition) == [0])
            for delivery in held + tenth { delivery.acknowledge() }
            let rest = try await consumer.take(10)
            #expect(rest.map(\.offset) == Array(11..<21))
        }
    }

    @Test func aWindowOfOneIsOneAtATime() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 200)
        var configuration = cluster.quickConsumer(topic)
        configuration.maximumUnsettledPerPartition = 1
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            var next: Int64 = 0
            for try await delivery in consumer.deliveries {
                #expect(delivery.offset == next)
                next += 1
                Task.detached { delivery.acknowledge() }
                if next == 200 { break }
            }
        }
    }

    /// With a prefetch of 100 messages librdkafka stops fetching hundreds of times on the way, and looks again after up
    /// to a second each: that would take minutes.
    @Test func aSmallPrefetchDoesNotMakeTheConsumerStandStill() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 25_000)
        var configuration = cluster.quickConsumer(topic)
        configuration.prefetch.maximumMessages = 100
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            var start: ContinuousClock.Instant?
            var next: [Int64] = [0, 0]
            for try await delivery in consumer.deliveries {
                if start == nil { start = .now }
                #expect(delivery.offset == next[delivery.partition])
                next[delivery.partition] += 1
                delivery.acknowledge()
                if next == [25_000, 25_000] { break }
            }
            // A fetcher that is looked at once a second brings 100 messages of each partition then: 250 seconds.
            let elapsed = try #require(start).duration(to: .now)
            #expect(elapsed < .seconds(40))
        }
    }

    @Test func largeMessagesPassThroughASmallPrefetch() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let value = [UInt8](repeating: 0x41, count: 300_000)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for _ in 0..<10 { _ = try await producer.send(KafkaMessage(topic: topic, value: value)) }
        }
        var configuration = cluster.quickConsumer(topic)
        configuration.prefetch.maximumBytes = 1 << 10
        configuration.prefetch.maximumMessages = 1
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await expectWithin(.seconds(20)) { try await consumer.take(10) }
            #expect(deliveries.allSatisfy { $0.value?.count == 300_000 })
            #expect(deliveries.map(\.offset) == Array(0..<10))
        }
    }
}
