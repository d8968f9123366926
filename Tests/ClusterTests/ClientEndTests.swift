import Testing

@testable import KafkaDelivery

/// When closing returns librdkafka's threads have ended, although the application still has what it closed: `exit` would take
/// OpenSSL apart under them.
@Suite(.timeLimit(.minutes(5)))
struct ClientEndTests {
    // Far from a deadline that is waited out, and enough for a busy machine.
    private static let slack = Duration.seconds(10)

    @Test func aClosedProducersThreadsHaveEnded() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let pending = try await producer.enqueue(KafkaMessage(topic: topic, value: "one"))
        await producer.close(within: .seconds(60))
        #expect(producer.core.clientEnd.isOver)
        #expect(try await pending.report.offset == 0, "a report outlives the client")
        await #expect(throws: KafkaError.closed()) { try await producer.send(KafkaMessage(topic: topic, value: "two")) }
        #expect(await producer.send(contentsOf: [KafkaMessage(topic: topic, value: "two")]) == [.failure(.closed())])
        try await producer.flush()
    }

    @Test func aProducerThatReachesNoBrokerIsGoneWithItsClose() async throws {
        // Nothing listens on port 1: its threads connect again and again.
        let producer = try KafkaProducer(.init(bootstrapServers: ["127.0.0.1:1"]), logger: .test)
        let pending = try await producer.enqueue(KafkaMessage(topic: "t", value: "one"))
        // No later than a second after its deadline, which a busy machine may need longer for.
        await producer.close(within: .zero)
        try await waitUntil { producer.core.clientEnd.isOver }
        await #expect(throws: KafkaError.self) { try await pending.report }
    }

    @Test func sendersThatMeetTheEndAreWaitedFor() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        for _ in 0..<20 {
            let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
            try await producer.send(KafkaMessage(topic: topic, value: "first"))
            await withTaskGroup(of: Void.self) { group in
                for task in 0..<4 {
                    group.addTask {
                        while (try? await producer.enqueue(KafkaMessage(topic: topic, value: "\(task)"))) != nil {
                            // There may be no more threads for tasks than tasks here.
                            await Task.yield()
                        }
                    }
                }
                group.addTask { await producer.close(within: .seconds(60)) }
            }
            #expect(producer.core.clientEnd.isOver)
        }
    }

    @Test func aClosedConsumersThreadsHaveEndedWhereNoDeliveryIsHeld() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        _ = try await consumer.takeOffsets(3)
        await consumer.close(within: .seconds(60))
        #expect(consumer.core.clientEnd.isOver)
        await #expect(throws: KafkaError.closed(persistence: nil)) {
            try await consumer.watermarks(of: [KafkaTopicPartition(topic: topic, partition: 0)])
        }
        await #expect(throws: KafkaError.closed(persistence: nil)) { try await consumer.commit() }
    }

    @Test func aClosedConsumersThreadsHaveEndedWhereAPartitionIsKept() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        var partitions = consumer.partitions.makeAsyncIterator()
        let kept = try #require(try await partitions.next())
        var inner = kept.makeAsyncIterator()
        #expect(try await inner.next()?.offset == 0)
        await consumer.close(within: .seconds(60))
        #expect(consumer.core.clientEnd.isOver)
        #expect(try await inner.next() == nil)
        #expect(kept.partition == 0, "it is kept until here")
    }

    @Test func aClosedConsumersThreadsHaveEndedWhereTheIteratorOfALoopThatWasLeftIsKept() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        var left = consumer.deliveries.makeAsyncIterator()
        #expect(try await left.next()?.offset == 0)
        await consumer.close(within: .seconds(60))
        #expect(consumer.core.clientEnd.isOver)
        #expect(try await left.next() == nil)
    }

    @Test func closingDoesNotWaitForDeliveriesThatAreKeptAndTheirEndIsTheClients() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        var kept: [KafkaConsumer.Delivery] = try await consumer.take(2)
        for delivery in kept { delivery.acknowledge() }
        let start = ContinuousClock.now
        await consumer.close(within: .seconds(60))
        #expect(start.duration(to: .now) < Self.slack)
        #expect(!consumer.core.clientEnd.isOver)
        #expect(kept.map(\.text) == ["0", "1"], "what is kept can still be read")
        kept = []
        #expect(await consumer.core.clientEnd.wait(until: .now.advanced(by: .seconds(60))))
    }

    @Test func aClosedTransactionalProducersThreadsHaveEnded() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        try await producer.withTransaction { try await $0.enqueue(KafkaMessage(topic: topic, value: "one")) }
        let first = try await producer.core.ready().clientEnd
        try await producer.recreate()
        let second = try await producer.core.ready().clientEnd
        await producer.close(within: .seconds(60))
        #expect(first.isOver)
        #expect(second.isOver)
    }
}
