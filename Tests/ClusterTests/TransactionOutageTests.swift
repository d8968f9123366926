import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Coordinators that do not answer, move or are away, in the middle of a transaction.
@Suite(.enabled(if: TestCluster.isMock, "injects faults"), .timeLimit(.minutes(5)))
struct TransactionOutageTests {
    @Test func aCommitThatIsNotAnsweredIsUnknownAndTheNextTransactionWorks() async throws {
        let cluster = try TestCluster()
        let input = try await cluster.makeTopic(name: "in")
        let output = try await cluster.makeTopic(name: "out")
        try await cluster.fill(input, count: 1)
        var configuration = cluster.transactionalConfiguration()
        // Enough for all that comes before the commit on a busy machine.
        configuration.operationTimeout = .seconds(10)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let consumer = try KafkaConsumer(cluster.quickConsumer(input), logger: .test)
        let delivery = try await consumer.take(1)[0]
        try await producer.initialize()
        try cluster.mock.inject([.none], into: .endTransaction, broker: 1, delay: .seconds(600))
        let error = await expectWithin(.seconds(40)) {
            await kafkaError {
                try await producer.withTransaction { transaction in
                    try await transaction.enqueue(KafkaMessage(topic: output, value: "unknown"))
                    try transaction.acknowledge(delivery, from: consumer)
                }
            }
        }
        #expect(error?.kind == .transactionOutcomeUnknown)
        #expect(error?.persistence == .possiblyPersisted)
        // The group says that nothing is committed (the mock cluster does not keep offsets of transactions).
        try await producer.withTransaction { transaction in
            let again = try await consumer.take(1)[0]
            #expect(again.attempt == 2)
            try transaction.acknowledge(again, from: consumer)
            try await transaction.enqueue(KafkaMessage(topic: output, value: "known"))
        }
        #expect(try await Kcat(cluster).committedValues(output) == ["unknown", "known"])
        await consumer.close()
        await producer.close()
    }

    /// A coordinator that never heard of the transaction, or has ended it since, refuses to abort it, and librdkafka takes
    /// that for fatal.
    @Test func aRefusedAbortSaysNothingAgainstTheNextTransaction() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaTransactionalProducer(cluster.transactionalConfiguration(), logger: .test)
        try await producer.initialize()
        try cluster.mock.inject([.invalidTransactionState], into: .endTransaction, broker: 1)
        await #expect(throws: Regret.self) {
            try await producer.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: topic, value: "aborted"))
                throw Regret()
            }
        }
        #expect(try cluster.mock.pendingErrors(for: .endTransaction, broker: 1) == 0)
        try await producer.withTransaction { transaction in
            try await transaction.send(KafkaMessage(topic: topic, value: "next"))
        }
        await producer.close()
    }

    @Test func aCoordinatorThatMovesInsideOfATransactionIsFollowed() async throws {
        let cluster = try TestCluster(brokers: 3)
        let topic = try await cluster.makeTopic()
        let configuration = cluster.transactionalConfiguration()
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        for broker in 1...3 {
            try await producer.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: topic, value: "\(broker)"))
                try cluster.mock.moveCoordinator(transactionalID: configuration.transactionalID, to: broker)
            }
        }
        #expect(try await Kcat(cluster).committedValues(topic) == ["1", "2", "3"])
        await producer.close()
    }

    @Test func aBrokerThatIsAwayForAMomentIsWaitedFor() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        try await producer.withTransaction { transaction in
            try await transaction.send(KafkaMessage(topic: topic, value: "before"))
            try cluster.mock.takeDown()
            try await transaction.enqueue(KafkaMessage(topic: topic, value: "meanwhile"))
            try cluster.mock.bringUp()
        }
        #expect(try await Kcat(cluster).committedValues(topic) == ["before", "meanwhile"])
        await producer.close()
    }

    @Test func aTransactionWithoutBrokersFailsInTimeAndTheProducerRecovers() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.transactionalConfiguration()
        configuration.operationTimeout = .seconds(5)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        try await producer.initialize()
        for _ in 0..<2 {
            let error = await expectWithin(.seconds(40)) {
                await kafkaError {
                    try await producer.withTransaction { transaction in
                        try cluster.mock.takeDown()
                        try await transaction.enqueue(KafkaMessage(topic: topic, value: "x"))
                    }
                }
            }
            #expect(error?.persistence == .notPersisted)
            #expect(error?.recovery == .retry)
        }
        try cluster.mock.bringUp()
        try await waitUntil {
            (try? await producer.withTransaction { try await $0.enqueue(KafkaMessage(topic: topic, value: "y")) })
                != nil
        }
        #expect(try await Kcat(cluster).committedValues(topic).contains("y"))
        await producer.close()
    }

    @Test func aBlockedTransactionLetsItsCancelledTaskGo() async throws {
        let cluster = try TestCluster()
        try cluster.mock.takeDown()
        let producer = try cluster.transactionalProducer()
        let task = Task { try await producer.initialize() }
        task.cancel()
        let error = await expectWithin(.seconds(10)) { await kafkaError { try await task.value } }
        #expect(error?.kind == .cancelled)
        await expectWithin(.seconds(10)) { await producer.close(within: .milliseconds(100)) }
    }

    @Test func closingWithoutBrokersEndsATransactionByTheDeadline() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        let isInside = Shared(false)
        let task = Task {
            try await producer.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: topic, value: "x"))
                try cluster.mock.takeDown()
                try await transaction.enqueue(KafkaMessage(topic: topic, value: "y"))
                isInside.change { $0 = true }
            }
        }
        try await isInside.wait { $0 }
        await expectWithin(.seconds(10)) { await producer.close(within: .milliseconds(200)) }
        let error = await expectWithin(.seconds(10)) { await kafkaError { try await task.value } }
        #expect(error != nil)
    }
}
