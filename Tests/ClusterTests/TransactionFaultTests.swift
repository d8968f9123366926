import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Errors at every step of a transaction's protocol: those that pass are not seen, those that require it abort, and a
/// producer that cannot go on says so until it is made anew.
@Suite(.enabled(if: TestCluster.isMock, "injects faults"), .timeLimit(.minutes(2)))
struct TransactionFaultTests {
    private typealias Fault = (kind: MockCluster.RequestKind, error: MockCluster.InjectedError)

    /// A consumer with a delivery for each round, and a producer.
    private struct Fixture {
        let cluster: TestCluster
        let output: String
        let consumer: KafkaConsumer
        let producer: KafkaTransactionalProducer

        init(brokers: Int = 1, count: Int, name: String = #function) async throws {
            cluster = try TestCluster(brokers: brokers)
            let input = try await cluster.makeTopic(name: name + "in")
            output = try await cluster.makeTopic(name: name + "out")
            try await cluster.fill(input, count: count)
            consumer = try KafkaConsumer(cluster.quickConsumer(input), logger: .test)
            var configuration = cluster.transactionalConfiguration()
            configuration.operationTimeout = .seconds(20)
            producer = try KafkaTransactionalProducer(configuration, logger: .test)
        }

        /// Sends and consumes in one transaction.
        func commit(_ delivery: KafkaConsumer.Delivery) async throws {
            try await producer.withTransaction { transaction in
                try await transaction.sendConfirmed(KafkaMessage(topic: output, value: delivery.text))
                try transaction.acknowledge(delivery, from: consumer)
            }
        }

        func close() async {
            await consumer.close()
            await producer.close()
            await (try? cluster.mock)?.shutdown()
        }
    }

    @Test func errorsThatPassAreRetriedAtEveryStep() async throws {
        let faults: [Fault] = [
            (.initProducerID, .coordinatorLoading), (.initProducerID, .notCoordinator),
            (.addPartitionsToTransaction, .coordinatorNotAvailable),
            (.addPartitionsToTransaction, .concurrentTransactions),
            (.produce, .notLeaderForPartition),
            (.addOffsetsToTransaction, .coordinatorNotAvailable), (.addOffsetsToTransaction, .disconnect),
            (.transactionOffsetCommit, .coordinatorLoading), (.transactionOffsetCommit, .notCoordinator),
            (.endTransaction, .coordinatorLoading), (.endTransaction, .disconnect),
        ]
        let fixture = try await Fixture(count: faults.count)
        for fault in faults {
            try fixture.cluster.mock.inject([fault.error], into: fault.kind)
            let delivery = try await fixture.consumer.take(1)[0]
            #expect(delivery.attempt == 1)
            try await fixture.commit(delivery)
        }
        let values = try await Kcat(fixture.cluster).committedValues(fixture.output)
        #expect(values == (0..<faults.count).map(String.init))
        await fixture.close()
    }

    @Test func errorsThatRequireItAbortAndEverythingIsDoneAgain() async throws {
        let faults: [(fault: Fault, kind: KafkaError.Kind, recovery: KafkaError.Recovery)] = [
            ((.addPartitionsToTransaction, .topicAuthorizationFailed), .authorization, .fixRequest),
            ((.produce, .messageTooLarge), .messageTooLarge, .fixRequest),
            ((.addOffsetsToTransaction, .groupAuthorizationFailed), .authorization, .fixRequest),
            ((.addOffsetsToTransaction, .unknown), .broker, .retry),
            ((.transactionOffsetCommit, .illegalGeneration), .assignmentEnded, .retry),
            ((.transactionOffsetCommit, .unknownMember), .assignmentEnded, .retry),
            ((.endTransaction, .unknown), .broker, .retry),
            ((.endTransaction, .invalidProducerIDMapping), .broker, .retry),
        ]
        let fixture = try await Fixture(count: faults.count)
        try await fixture.producer.initialize()
        for (number, expected) in faults.enumerated() {
            try fixture.cluster.mock.inject([expected.fault.error], into: expected.fault.kind)
            let delivery = try await fixture.consumer.take(1)[0]
            let error = await #expect(throws: KafkaError.self, "\(expected.fault)") {
                try await fixture.producer.withTransaction { transaction in
                    try await transaction.send(KafkaMessage(topic: fixture.output, value: "aborted"))
                    try transaction.acknowledge(delivery, from: fixture.consumer)
                }
            }
            #expect(error?.kind == expected.kind, "\(expected.fault)")
            #expect(error?.recovery == expected.recovery, "\(expected.fault)")
            #expect(error?.persistence == .notPersisted, "\(expected.fault)")
            let again = try await fixture.consumer.take(1)[0]
            #expect(again.text == "\(number)", "\(expected.fault)")
            #expect(again.attempt == 2, "\(expected.fault)")
            let next = await kafkaError { try await fixture.commit(again) }
            #expect(next == nil, "\(expected.fault)")
        }
        await fixture.close()
    }

    @Test func aProducerThatCannotGoOnSaysSoUntilItIsMadeAnew() async throws {
        let faults: [(fault: Fault, kind: KafkaError.Kind)] = [
            ((.addPartitionsToTransaction, .producerFenced), .fenced),
            ((.addOffsetsToTransaction, .invalidProducerEpoch), .fenced),
            ((.transactionOffsetCommit, .invalidTransactionState), .fatal),
            ((.endTransaction, .producerFenced), .fenced),
            ((.endTransaction, .invalidTransactionState), .fatal),
        ]
        let fixture = try await Fixture(count: faults.count)
        try await fixture.producer.initialize()
        for (number, expected) in faults.enumerated() {
            try fixture.cluster.mock.inject([expected.fault.error], into: expected.fault.kind)
            let delivery = try await fixture.consumer.take(1)[0]
            let error = await #expect(throws: KafkaError.self, "\(expected.fault)") {
                try await fixture.producer.withTransaction { transaction in
                    try await transaction.send(KafkaMessage(topic: fixture.output, value: "lost"))
                    try transaction.acknowledge(delivery, from: fixture.consumer)
                }
            }
            #expect(error?.kind == expected.kind, "\(expected.fault)")
            #expect(error?.recovery == .recreateClient, "\(expected.fault)")
            // A commit that was sent may have been answered before, and the answer lost.
            let isSent = expected.fault.kind == .endTransaction
            #expect(error?.persistence == (isSent ? .possiblyPersisted : .notPersisted), "\(expected.fault)")

            for _ in 0..<2 {
                let later = await kafkaError { try await fixture.producer.withTransaction { _ in } }
                #expect(later?.kind == expected.kind)
                #expect(later?.recovery == .recreateClient)
            }
            try await fixture.producer.recreate()
            let again = try await fixture.consumer.take(1)[0]
            #expect(again.text == "\(number)", "\(expected.fault)")
            #expect(again.attempt == 2)
            try await fixture.commit(again)
        }
        await fixture.close()
    }

    @Test func aProducerThatIsNotAllowedToInitialiseCanTryAgain() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        try cluster.mock.inject([.transactionalIDAuthorizationFailed], into: .initProducerID)
        let error = await #expect(throws: KafkaError.self) { try await producer.initialize() }
        #expect(error?.kind == .authorization)
        try await producer.withTransaction { try await $0.send(KafkaMessage(topic: topic, value: "x")) }
        await producer.close()
    }

    @Test func aCommitThatIsNotAnsweredIsUnknownAndTheNextTransactionWorks() async throws {
        let cluster = try TestCluster()
        let input = try await cluster.makeTopic(name: "in")
        let output = try await cluster.makeTopic(name: "out")
        try await cluster.fill(input, count: 1)
        var configuration = cluster.transactionalConfiguration()
        configuration.operationTimeout = .seconds(2)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let consumer = try KafkaConsumer(cluster.quickConsumer(input), logger: .test)
        let delivery = try await consumer.take(1)[0]
        try await producer.initialize()
        try cluster.mock.inject([.none], into: .endTransaction, broker: 1, delay: .seconds(600))
        let error = await expectWithin(.seconds(20)) {
            await kafkaError {
                try await producer.withTransaction { transaction in
                    try await transaction.send(KafkaMessage(topic: output, value: "unknown"))
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
            try await transaction.send(KafkaMessage(topic: output, value: "known"))
        }
        #expect(try await Kcat(cluster).committedValues(output) == ["unknown", "known"])
        await consumer.close()
        await producer.close()
    }

    @Test func aCoordinatorThatMovesInsideOfATransactionIsFollowed() async throws {
        let cluster = try TestCluster(brokers: 3)
        let topic = try await cluster.makeTopic()
        let configuration = cluster.transactionalConfiguration()
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        for broker in 1...3 {
            try await producer.withTransaction { transaction in
                try await transaction.sendConfirmed(KafkaMessage(topic: topic, value: "\(broker)"))
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
            try await transaction.sendConfirmed(KafkaMessage(topic: topic, value: "before"))
            try cluster.mock.takeDown()
            try await transaction.send(KafkaMessage(topic: topic, value: "meanwhile"))
            try cluster.mock.bringUp()
        }
        #expect(try await Kcat(cluster).committedValues(topic) == ["before", "meanwhile"])
        await producer.close()
    }

    @Test func aTransactionWithoutBrokersFailsInTimeAndTheProducerRecovers() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.transactionalConfiguration()
        configuration.operationTimeout = .seconds(1)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        try await producer.initialize()
        for _ in 0..<2 {
            let error = await expectWithin(.seconds(20)) {
                await kafkaError {
                    try await producer.withTransaction { transaction in
                        try cluster.mock.takeDown()
                        try await transaction.send(KafkaMessage(topic: topic, value: "x"))
                    }
                }
            }
            #expect(error?.persistence == .notPersisted)
            #expect(error?.recovery == .retry)
        }
        try cluster.mock.bringUp()
        try await waitUntil {
            (try? await producer.withTransaction { try await $0.send(KafkaMessage(topic: topic, value: "y")) }) != nil
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
                try await transaction.sendConfirmed(KafkaMessage(topic: topic, value: "x"))
                try cluster.mock.takeDown()
                try await transaction.send(KafkaMessage(topic: topic, value: "y"))
                isInside.change { $0 = true }
            }
        }
        try await isInside.wait { $0 }
        await expectWithin(.seconds(10)) { await producer.close(within: .milliseconds(200)) }
        let error = await expectWithin(.seconds(10)) { await kafkaError { try await task.value } }
        #expect(error != nil)
    }
}

/// Who may use a producer, and until when.
@Suite(.timeLimit(.minutes(2)))
struct TransactionOwnerTests {
    @Test func closingInsideOfATransactionAbortsIt() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        let error = await #expect(throws: KafkaError.self) {
            try await producer.withTransaction { transaction in
                try await transaction.sendConfirmed(KafkaMessage(topic: topic, value: "closed"))
                await producer.close()
                let inside = await kafkaError { try await transaction.send(KafkaMessage(topic: topic, value: "late")) }
                #expect(inside?.kind == .closed)
            }
        }
        #expect(error?.kind == .closed)
        #expect(error?.persistence == .notPersisted)
        if !TestCluster.isMock { #expect(try await Kcat(cluster).committedValues(topic) == []) }
    }

    /// The mock cluster does not fence: there the error is injected, see ``TransactionFaultTests``.
    @Test(.enabled(if: !TestCluster.isMock, "needs a coordinator that fences"))
    func ofTwoProducersWithOneTransactionalIDTheOlderIsFencedAndSaysSo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let name = TestCluster.uniqueName()
        let older = try cluster.transactionalProducer(name)
        let newer = try cluster.transactionalProducer(name)
        func send(_ text: String, through producer: KafkaTransactionalProducer) async throws {
            try await producer.withTransaction { try await $0.send(KafkaMessage(topic: topic, value: text)) }
        }
        try await send("older", through: older)
        try await send("newer", through: newer)
        for _ in 0..<2 {
            let error = await #expect(throws: KafkaError.self) { try await send("fenced", through: older) }
            #expect(error?.kind == .fenced)
            #expect(error?.recovery == .recreateClient)
        }
        try await send("newer again", through: newer)
        try await older.recreate()
        try await send("older again", through: older)
        let error = await #expect(throws: KafkaError.self) { try await send("fenced", through: newer) }
        #expect(error?.kind == .fenced)
        let values = try await Kcat(cluster).committedValues(topic)
        #expect(values == ["older", "newer", "newer again", "older again"])
        await older.close()
        await newer.close()
    }

    @Test(.enabled(if: !TestCluster.isMock, "needs a coordinator that ends what was left open"))
    func whatADroppedProducerLeftOpenIsEndedByTheNextWithItsID() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let name = TestCluster.uniqueName()
        let left = Shared<KafkaTransactionalProducer?>(try cluster.transactionalProducer(name))
        // A task that never returns from its transaction.
        let isInside = Shared(false)
        let task = Task {
            try await left.value?.withTransaction { transaction in
                try await transaction.sendConfirmed(KafkaMessage(topic: topic, value: "left open"))
                isInside.change { $0 = true }
                try await Shared(false).wait { $0 }
            }
        }
        try await isInside.wait { $0 }
        let next = try cluster.transactionalProducer(name)
        try await next.withTransaction { try await $0.send(KafkaMessage(topic: topic, value: "next")) }
        // Readers of committed messages are not held up by what was left open.
        #expect(try await Kcat(cluster).committedValues(topic) == ["next"])
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        await next.close()
    }

    @Test(.enabled(if: !TestCluster.isMock, "needs a coordinator that ends what takes too long"))
    func aTransactionThatTakesTooLongIsNotCommitted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.transactionalConfiguration()
        configuration.transactionTimeout = .seconds(1)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let error = await kafkaError {
            try await producer.withTransaction { transaction in
                let start = ContinuousClock.now
                try await transaction.sendConfirmed(KafkaMessage(topic: topic, value: "late"))
                try await waitUntil { start.duration(to: .now) > .seconds(1) }
            }
        }
        #expect(error?.kind == .timedOut)
        #expect(error?.persistence == .notPersisted)
        // Whether the coordinator was quicker than the abort or not, this makes the producer usable.
        try await producer.recreate()
        try await producer.withTransaction { try await $0.send(KafkaMessage(topic: topic, value: "next")) }
        #expect(try await Kcat(cluster).committedValues(topic) == ["next"])
        await producer.close()
    }
}
