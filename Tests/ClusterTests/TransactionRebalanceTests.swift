import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// A group that rebalances inside of a transaction.
@Suite(.timeLimit(.minutes(5)))
struct TransactionRebalanceTests {
    private static func prepare(
        _ cluster: TestCluster,
        revocationTimeout: Duration,
        name: String = #function
    ) async throws -> (input: String, output: String, consumer: KafkaConsumer.Configuration) {
        let input = try await cluster.makeTopic(partitions: 2, name: name + "in")
        let output = try await cluster.makeTopic(name: name + "out")
        try await cluster.fill(input, partitions: 2, count: 5)
        // Eager: everything is revoked when another member joins.
        var configuration = cluster.quickConsumer(input, strategy: .range)
        configuration.revocationTimeout = revocationTimeout
        // A mock coordinator waits for a member that has to join again no longer than this, and a transaction on a busy
        // machine may take that long.
        configuration.sessionTimeout = .seconds(9)
        return (input, output, configuration)
    }

    @Test func aRevocationWaitsForATransactionWithItsOffsets() async throws {
        let cluster = try TestCluster()
        let (input, output, configuration) = try await Self.prepare(cluster, revocationTimeout: .seconds(60))
        let producer = try cluster.transactionalProducer()
        let first = try KafkaConsumer(configuration, logger: .test)
        let second = try KafkaConsumer(configuration, logger: .test)
        let taken = Shared<[KafkaConsumer.Delivery]>([])
        let ended = Shared(0)
        let reading = Task {
            try await withThrowingDiscardingTaskGroup { group in
                for try await partition in first.partitions {
                    group.addTask {
                        for try await delivery in partition { taken.change { $0.append(delivery) } }
                        ended.change { $0 += 1 }
                    }
                }
            }
        }
        try await taken.wait { $0.count == 10 }
        let deliveries = taken.value
        let events = first.events
        let revoked = Task { try await events.first { if case .revoked(_, let count) = $0 { count } else { nil } } }
        let joined = Task {
            for try await _ in second.deliveries { return true }
            return false
        }
        try await producer.withTransaction { transaction in
            try transaction.acknowledge(deliveries, from: first)
            try await transaction.enqueue(KafkaMessage(topic: output, value: "x"))
            // The revocation has begun: the partitions are not read any more.
            try await ended.wait { $0 == 2 }
        }
        // None was unsettled, for the transaction was waited for.
        #expect(try await revoked.value == 0)
        if TestCluster.isMock {
            // It does not keep the transaction's offsets, so the next owner begins at the beginning.
            #expect(try await joined.value)
        } else {
            let committed = try await GroupOffsets(cluster, configuration.group).committed(input, partitions: 0...1)
            #expect(committed == [0: 5, 1: 5])
            joined.cancel()
            _ = try? await joined.value
        }
        reading.cancel()
        // It may have read more since.
        await first.close(within: .seconds(1))
        await second.close(within: .seconds(1))
        await producer.close()
    }

    @Test func aTransactionWhosePartitionsHaveGoneIsAborted() async throws {
        let cluster = try TestCluster()
        let (_, output, configuration) = try await Self.prepare(cluster, revocationTimeout: .zero)
        let producer = try cluster.transactionalProducer()
        let first = try KafkaConsumer(configuration, logger: .test)
        let second = try KafkaConsumer(configuration, logger: .test)
        let deliveries = try await first.take(10)
        let events = first.events
        let isAcknowledged = Shared(false)
        let joined = Task {
            try await isAcknowledged.wait { $0 }
            return try await second.take(1)
        }
        let error = await #expect(throws: KafkaError.self) {
            try await producer.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: output, value: "aborted"))
                try transaction.acknowledge(deliveries.dropLast(), from: first)
                isAcknowledged.change { $0 = true }
                let unsettled = try await events.first { if case .revoked(_, let count) = $0 { count } else { nil } }
                #expect(unsettled == 10)
                let late = await kafkaError { try transaction.acknowledge(deliveries[9], from: first) }
                #expect(late?.kind == .assignmentEnded)
            }
        }
        #expect(error?.kind == .assignmentEnded)
        #expect(error?.persistence == .notPersisted)
        #expect(error?.recovery == .retry)
        // The next owner gets it from its beginning.
        #expect(try await joined.value.map(\.offset) == [0])
        if !TestCluster.isMock { #expect(try await Kcat(cluster).committedValues(output) == []) }
        await first.close()
        await second.close()
        await producer.close()
    }
}
