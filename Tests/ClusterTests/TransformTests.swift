import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Reading, transforming and sending in one call.
@Suite(.timeLimit(.minutes(3)))
struct TransformTests {
    private static func prepare(
        _ cluster: TestCluster,
        partitions: Int = 3,
        count: Int,
        name: String = #function
    ) async throws -> (input: String, output: String, consumer: KafkaConsumer.Configuration) {
        let input = try await cluster.makeTopic(partitions: partitions, name: name + "in")
        let output = try await cluster.makeTopic(partitions: partitions, name: name + "out")
        try await cluster.fill(input, partitions: partitions, count: count)
        return (input, output, cluster.quickConsumer(input))
    }

    /// Runs a transformation until `isOver`, then closes the consumer, which ends it.
    private static func transform(
        _ configuration: KafkaConsumer.Configuration,
        through producer: KafkaTransactionalProducer,
        retry: KafkaRetryPolicy = .fixed(.zero, maximumAttempts: nil),
        deadLetters: KafkaDeadLetters? = nil,
        until isOver: () async throws -> Void,
        _ body: @escaping @Sendable (KafkaConsumer.Delivery) async throws -> [KafkaMessage]
    ) async throws {
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let running = Task {
            try await consumer.transform(
                through: producer,
                maximumCount: 50,
                retry: retry,
                deadLetters: deadLetters,
                body
            )
        }
        do {
            try await isOver()
        } catch {
            running.cancel()
            throw error
        }
        let summary = await consumer.close()
        #expect(summary.unsettled == 0)
        try await running.value
    }

    @Test func everyMessageIsTransformedOnce() async throws {
        let cluster = try TestCluster()
        let (input, output, configuration) = try await Self.prepare(cluster, count: 300)
        let producer = try cluster.transactionalProducer()
        let seen = Shared(0)
        try await Self.transform(configuration, through: producer) {
            try await seen.wait { $0 == 900 }
        } _: { delivery in
            seen.change { $0 += 1 }
            return [KafkaMessage(topic: output, partition: delivery.partition, value: "out \(delivery.text)")]
        }
        for partition in 0..<3 {
            let values = try await Kcat(cluster).committedValues(output, partition: partition)
            #expect(values == (0..<300).map { "out \($0)" })
        }
        if !TestCluster.isMock {
            let committed = try await GroupOffsets(cluster, configuration.group).committed(input, partitions: 0...2)
            #expect(committed == [0: 300, 1: 300, 2: 300])
        }
        await producer.close()
    }

    @Test func aMessageThatFailsIsTriedAgainInOrderAndTheOthersGoOn() async throws {
        let cluster = try TestCluster()
        let (_, output, configuration) = try await Self.prepare(cluster, partitions: 2, count: 20)
        let producer = try cluster.transactionalProducer()
        let failures = Shared(0)
        let seen = Shared<Set<String>>([])
        try await Self.transform(configuration, through: producer) {
            try await seen.wait { $0.count == 40 }
        } _: { delivery in
            if delivery.partition == 0, delivery.offset == 7, failures.value < 3 {
                failures.change { $0 += 1 }
                throw Regret()
            }
            _ = seen.change { $0.insert(delivery.description) }
            return [KafkaMessage(topic: output, partition: delivery.partition, value: delivery.text)]
        }
        #expect(failures.value == 3)
        for partition in 0..<2 {
            let values = try await Kcat(cluster).committedValues(output, partition: partition)
            #expect(values == (0..<20).map(String.init))
        }
        await producer.close()
    }

    @Test func aMessageThatIsGivenUpIsPartOfTheTransactionAsADeadLetter() async throws {
        let cluster = try TestCluster()
        let (_, output, configuration) = try await Self.prepare(cluster, partitions: 1, count: 10)
        let letters = try await cluster.makeTopic(name: "letters")
        // A millisecond that comes after those in which the messages were sent.
        let filled = KafkaTimestamp.now
        while KafkaTimestamp.now == filled { await Task.yield() }
        let start = KafkaTimestamp.now
        let producer = try cluster.transactionalProducer()
        let seen = Shared(0)
        try await Self.transform(
            configuration,
            through: producer,
            retry: .fixed(.zero, maximumAttempts: 2),
            deadLetters: KafkaDeadLetters(topicName: { _ in letters })
        ) {
            try await seen.wait { $0 == 9 }
        } _: { delivery in
            guard delivery.offset != 4 else { throw Regret() }
            seen.change { $0 += 1 }
            return [KafkaMessage(topic: output, value: delivery.text)]
        }
        #expect(try await Kcat(cluster).committedValues(output) == ["0", "1", "2", "3", "5", "6", "7", "8", "9"])
        #expect(try await Kcat(cluster).committedValues(letters) == ["4"])
        try await withKafkaConsumer(cluster.quickConsumer(letters), logger: .test) { consumer in
            let delivery = try #require(try await consumer.take(1).first)
            let original = try #require(delivery.deadLetter?.originalTimestamp)
            #expect((delivery.timestamp ?? .earlier) >= start, "its topic's retention counts from its sending")
            #expect(original < start)
        }
        await producer.close()
    }

    @Test func aMessageThatIsGivenUpWithoutDeadLettersEndsTheLoopAndIsHandedOutAgain() async throws {
        let cluster = try TestCluster()
        let (_, output, configuration) = try await Self.prepare(cluster, partitions: 1, count: 3)
        let producer = try cluster.transactionalProducer()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            await #expect(throws: Regret.self) {
                try await consumer.transform(through: producer, maximumCount: 3, retry: .none) { delivery in
                    guard delivery.offset != 1 else { throw Regret() }
                    return [KafkaMessage(topic: output, value: delivery.text)]
                }
            }
            let rest = try await consumer.take(2)
            #expect(rest.last?.offset == rest.first.map { $0.offset + 1 })
            for delivery in rest { delivery.acknowledge() }
        }
        await producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aBatchThatIsAbortedIsDoneAgain() async throws {
        let cluster = try TestCluster()
        let (_, output, configuration) = try await Self.prepare(cluster, partitions: 1, count: 10)
        let producer = try cluster.transactionalProducer()
        try await producer.initialize()
        try cluster.mock.inject([.unknown], into: .addOffsetsToTransaction)
        try cluster.mock.inject([.illegalGeneration], into: .transactionOffsetCommit)
        let calls = Shared(0)
        try await Self.transform(configuration, through: producer) {
            try await waitUntil { try await Kcat(cluster).count(output, partition: 0) >= 30 }
        } _: { delivery in
            calls.change { $0 += 1 }
            return [KafkaMessage(topic: output, value: delivery.text)]
        }
        #expect(calls.value == 30)
        // The mock cluster shows what was aborted too; the last round is the one that counts.
        let values = try await Kcat(cluster).committedValues(output)
        #expect(values.suffix(10) == (0..<10).map(String.init)[...])
        await producer.close()
    }
}
