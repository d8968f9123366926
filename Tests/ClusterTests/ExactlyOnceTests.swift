import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Reading, transforming and sending exactly once, whatever is lost meanwhile. ``TransformHistoryTests`` kills besides.
@Suite(.timeLimit(.minutes(5)))
struct ExactlyOnceTests {
    @Test func aCommitWhoseAnswerIsLostIsFoundOutAndNothingIsDoneTwice() async throws {
        let cluster = try TestCluster()
        let relay = try FaultRelay(seed: 1)
        let input = try await cluster.makeTopic(name: "in")
        let output = try await cluster.makeTopic(name: "out")
        try await cluster.fill(input, count: 20)
        var configuration = cluster.transactionalConfiguration()
        configuration.operationTimeout = .seconds(10)
        relay.route(&configuration)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let settings = cluster.quickConsumer(input)
        try await withKafkaConsumer(settings, logger: .test) { consumer in
            let deliveries = try await consumer.take(10)
            try await producer.initialize()
            relay.faults.responseLoss = .init(probability: 1, kinds: [.endTransaction], cutsAfter: nil)
            let error = await kafkaError {
                try await producer.withTransaction { transaction in
                    try await transaction.enqueue(KafkaMessage(topic: output, value: "first"))
                    try transaction.acknowledge(deliveries, from: consumer)
                }
            }
            #expect(error?.kind == .transactionOutcomeUnknown)
            #expect(error?.persistence == .possiblyPersisted)
            relay.faults = .init()
            try await producer.initialize()
            let next = try await consumer.take(10)
            // It was committed. (The mock cluster's group knows nothing of it, so there it is done again.)
            #expect(next.first?.offset == (TestCluster.isMock ? 0 : 10))
            #expect(next.first?.attempt == (TestCluster.isMock ? 2 : 1))
            try await producer.withTransaction { transaction in
                try await transaction.enqueue(KafkaMessage(topic: output, value: "second"))
                try transaction.acknowledge(next, from: consumer)
            }
        }
        #expect(try await Kcat(cluster).committedValues(output) == ["first", "second"])
        if !TestCluster.isMock { #expect(try await GroupOffsets(cluster, settings.group).committed(input) == 20) }
        await producer.close()
        await relay.shutdown()
    }

    @Test(.enabled(if: !TestCluster.isMock, "needs a real broker"))
    func aBadNetworkTransformsEveryMessageExactlyOnce() async throws {
        let cluster = try TestCluster()
        let relay = try FaultRelay(seed: 7)
        let count = 400
        let input = try await cluster.makeTopic(partitions: 2, name: "in")
        let output = try await cluster.makeTopic(partitions: 2, name: "out")
        try await cluster.fill(input, partitions: 2, count: count)
        var configuration = cluster.transactionalConfiguration()
        configuration.operationTimeout = .seconds(5)
        configuration.additionalProperties["reconnect.backoff.max.ms"] = "1000"
        relay.route(&configuration)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let settings = cluster.quickConsumer(input)
        let consumer = try KafkaConsumer(settings, logger: .test)
        relay.faults.responseLoss = .init(probability: 0.03, kinds: [], cutsAfter: .milliseconds(10))
        relay.faults.requests.meanBytesBetweenCuts = 20_000
        let running = Task {
            try await consumer.transform(through: producer, maximumCount: 10) { delivery in
                [KafkaMessage(topic: output, partition: delivery.partition, value: delivery.value)]
            }
        }
        let offsets = GroupOffsets(cluster, settings.group)
        try await waitUntil {
            try await offsets.committed(input, partitions: 0...1) == [0: Int64(count), 1: Int64(count)]
        }
        await consumer.close()
        try await running.value
        await producer.close()
        #expect(relay.statistics.cuts > 0)
        for partition in 0..<2 {
            let values = try await Kcat(cluster).committedValues(output, partition: partition)
            #expect(values == (0..<count).map(String.init))
        }
        await relay.shutdown()
    }
}
