import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// What was consumed and what was sent because of it are one: both count, or neither.
@Suite(.timeLimit(.minutes(5)))
struct TransactionalConsumingTests {
    /// A topic with messages "0", "1" and so on, one to write to, and the settings of a consumer.
    private static func prepare(
        _ cluster: TestCluster,
        partitions: Int = 1,
        count: Int,
        name: String = #function
    ) async throws -> (input: String, output: String, consumer: KafkaConsumer.Configuration) {
        let input = try await cluster.makeTopic(partitions: partitions, name: name + "in")
        let output = try await cluster.makeTopic(name: name + "out")
        try await cluster.fill(input, partitions: partitions, count: count)
        var configuration = cluster.quickConsumer(input)
        configuration.commitInterval = .milliseconds(20)
        return (input, output, configuration)
    }

    @Test func whatIsConsumedInATransactionIsCommittedWithIt() async throws {
        let cluster = try TestCluster()
        let (input, output, configuration) = try await Self.prepare(cluster, count: 20)
        let producer = try cluster.transactionalProducer()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            for round in 0..<2 {
                let deliveries = try await consumer.take(10)
                #expect(deliveries.map(\.offset) == (0..<10).map { Int64(round * 10 + $0) })
                try await producer.withTransaction { transaction in
                    for delivery in deliveries {
                        try await transaction.enqueue(KafkaMessage(topic: output, value: "out \(delivery.text)"))
                    }
                    try transaction.acknowledge(deliveries, from: consumer)
                }
                // The mock cluster does not keep offsets of transactions.
                if !TestCluster.isMock {
                    let committed = try await GroupOffsets(cluster, configuration.group).committed(input)
                    #expect(committed == Int64(round * 10 + 10))
                }
            }
            // All is committed: there is nothing to wait for.
            try await consumer.commit()
        }
        #expect(try await Kcat(cluster).committedValues(output) == (0..<20).map { "out \($0)" })
        // The consumer itself has committed nothing of it.
        let committed = try await GroupOffsets(cluster, configuration.group).committed(input)
        #expect(committed == (TestCluster.isMock ? nil : 20))
        await producer.close()
    }

    @Test func whatWasConsumedInAnAbortedTransactionIsHandedOutAgainInOrder() async throws {
        let cluster = try TestCluster()
        let (_, output, configuration) = try await Self.prepare(cluster, partitions: 2, count: 10)
        let producer = try cluster.transactionalProducer()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let first = try await consumer.take(12)
            await #expect(throws: Regret.self) {
                try await producer.withTransaction { transaction in
                    try await transaction.enqueue(KafkaMessage(topic: output, value: "regretted"))
                    // In any order.
                    try transaction.acknowledge(first.reversed(), from: consumer)
                    throw Regret()
                }
            }
            let again = try await consumer.take(20)
            for partition in 0..<2 {
                let deliveries = again.filter { $0.partition == partition }
                #expect(deliveries.map(\.offset) == (0..<10).map { Int64($0) })
                let count = first.count { $0.partition == partition }
                #expect(deliveries.map(\.attempt) == (0..<10).map { $0 < count ? 2 : 1 })
            }
            try await producer.withTransaction { try $0.acknowledge(again, from: consumer) }
        }
        await producer.close()
    }

    // Part of a transaction that will be aborted, it would get no verdict, and nothing behind it would be committed.
    @Test func whatIsReadBehindASeekIsNoPartOfTheTransactionFromBefore() async throws {
        let cluster = try TestCluster()
        let (input, _, configuration) = try await Self.prepare(cluster, count: 3)
        let producer = try cluster.transactionalProducer()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let before = try await consumer.take(1)
            var behind: [KafkaConsumer.Delivery] = []
            do {
                try await producer.withTransaction { transaction in
                    try transaction.acknowledge(before, from: consumer)
                    try await consumer.seek(KafkaTopicPartition(topic: input, partition: 0), to: .beginning)
                    behind = try await consumer.take(1)
                    try transaction.acknowledge(behind, from: consumer)
                }
                Issue.record("it was committed")
            } catch let error as KafkaError {
                #expect(error.kind == .assignmentEnded)
            }
            behind += try await consumer.take(2)
            #expect(behind.map(\.offset) == [0, 1, 2])
            for delivery in behind { delivery.acknowledge() }
            let summary = await consumer.close(within: .seconds(30))
            #expect(summary.unsettled == 0)
        }
        await producer.close()
    }

    @Test func nothingIsSkipped() async throws {
        let cluster = try TestCluster()
        let (input, output, configuration) = try await Self.prepare(cluster, count: 5)
        let producer = try cluster.transactionalProducer()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(5)
            deliveries[0].acknowledge()
            let error = await #expect(throws: KafkaError.self) {
                try await producer.withTransaction { transaction in
                    try await transaction.enqueue(KafkaMessage(topic: output, value: "skips"))
                    try transaction.acknowledge(deliveries[2...3], from: consumer)
                }
            }
            #expect(error?.kind == .invalidArgument)
            #expect(error?.reason.contains(input) == true)
            // What was acknowledged the plain way before it is committed by the consumer itself; what was in the
            // transaction comes again.
            try await waitUntil { try await GroupOffsets(cluster, configuration.group).committed(input) == 1 }
            let again = try await consumer.take(2)
            #expect(again.map(\.text) == ["2", "3"])
            try await producer.withTransaction { transaction in
                try transaction.acknowledge(again, from: consumer)
                // In any order, as long as nothing is missing in the end.
                try transaction.acknowledge(deliveries[1], from: consumer)
            }
            // The plain way goes on where the transaction ended.
            deliveries[4].acknowledge()
            try await consumer.commit()
        }
        #expect(try await GroupOffsets(cluster, configuration.group).committed(input) == 5)
        await producer.close()
    }

    @Test func aDeliveryWithAVerdictOrFromElsewhereIsRefused() async throws {
        let cluster = try TestCluster()
        let (_, _, configuration) = try await Self.prepare(cluster, partitions: 1, count: 3)
        let producer = try cluster.transactionalProducer()
        let other = try cluster.transactionalProducer()
        let stranger = try KafkaConsumer(configuration, logger: .test)
        var uncommitted = configuration
        uncommitted.isolation = .readUncommitted
        let reader = try KafkaConsumer(uncommitted, logger: .test)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(3)
            deliveries[0].acknowledge()
            try await producer.withTransaction { transaction in
                func refusal(_ body: () throws -> Void) -> KafkaError.Kind? {
                    #expect(throws: KafkaError.self, performing: body)?.kind
                }
                #expect(refusal { try transaction.acknowledge(deliveries[0], from: consumer) } == .invalidArgument)
                #expect(refusal { try transaction.acknowledge(deliveries[1], from: stranger) } == .invalidArgument)
                #expect(refusal { try transaction.acknowledge(deliveries[1], from: reader) } == .invalidArgument)
                try transaction.acknowledge(deliveries[1], from: consumer)
                #expect(refusal { try transaction.acknowledge(deliveries[1], from: consumer) } == .invalidArgument)
                try await other.withTransaction { second in
                    #expect(refusal { try second.acknowledge(deliveries[2], from: consumer) } == .invalidArgument)
                }
                // A verdict on what a transaction has changes nothing.
                deliveries[1].negativelyAcknowledge()
            }
            deliveries[2].acknowledge()
            try await consumer.commit()
        }
        await stranger.close()
        await reader.close()
        await producer.close()
        await other.close()
    }

    @Test func anEarlierAttemptIsNoPartOfATransactionWhileTheNextIsInHand() async throws {
        let cluster = try TestCluster()
        let (input, _, configuration) = try await Self.prepare(cluster, partitions: 1, count: 2)
        let producer = try cluster.transactionalProducer()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let rejected = try await consumer.take(1)[0]
            rejected.negativelyAcknowledge()
            let aborted = try await consumer.take(1)[0]
            #expect(aborted.attempt == 2)
            await #expect(throws: CancellationError.self) {
                try await producer.withTransaction { transaction in
                    let error = #expect(throws: KafkaError.self) {
                        try transaction.acknowledge(rejected, from: consumer)
                    }
                    #expect(error?.kind == .invalidArgument)
                    try transaction.acknowledge(aborted, from: consumer)
                    throw CancellationError()
                }
            }
            let last = try await consumer.take(1)[0]
            #expect(last.offset == rejected.offset && last.attempt == 3)
            try await producer.withTransaction { transaction in
                let error = #expect(throws: KafkaError.self) { try transaction.acknowledge(aborted, from: consumer) }
                #expect(error?.kind == .invalidArgument)
                try transaction.acknowledge(last, from: consumer)
            }
            let next = try await consumer.take(1)[0]
            #expect(next.offset == last.offset + 1)
            next.acknowledge()
            try await consumer.commit()
        }
        #expect(try await GroupOffsets(cluster, configuration.group).committed(input) == 2)
        await producer.close()
    }

    @Test func aConsumerOfNamedPartitionsCommitsForItsGroupAndNeedsOne() async throws {
        let cluster = try TestCluster()
        let (input, output, _) = try await Self.prepare(cluster, count: 5)
        let producer = try cluster.transactionalProducer()
        let group = TestCluster.uniqueName()
        let partitions = [KafkaTopicPartition(topic: input, partition: 0)]
        for name in [group, nil] {
            let configuration = KafkaConsumer.Configuration(
                bootstrapServers: cluster.bootstrapServers,
                partitions: partitions,
                group: name
            )
            try await withKafkaConsumer(configuration, logger: .test) { consumer in
                let deliveries = try await consumer.take(5)
                let error = await kafkaError {
                    try await producer.withTransaction { transaction in
                        try transaction.acknowledge(deliveries, from: consumer)
                        try await transaction.enqueue(KafkaMessage(topic: output, value: "x"))
                    }
                }
                #expect(error?.kind == (name == nil ? .invalidArgument : nil))
                for delivery in deliveries where name == nil { delivery.acknowledge() }
            }
        }
        if !TestCluster.isMock {
            #expect(try await GroupOffsets(cluster, group).committed(input) == 5)
            #expect(try await Kcat(cluster).committedValues(output) == ["x"])
        }
        await producer.close()
    }
}
