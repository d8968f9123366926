import KafkaDelivery
import KafkaDeliveryTesting
import Testing

@testable import struct KafkaDelivery.KafkaError

/// A broker's answer to one step of a transaction's protocol, in place of doing what it was asked, and what comes of it.
struct TransactionFault: CustomStringConvertible {
    let step: MockCluster.RequestKind
    let error: MockCluster.InjectedError
    /// What the transaction throws; nil where it throws nothing.
    var kind: KafkaError.Kind?
    var recovery: KafkaError.Recovery?

    init(_ step: MockCluster.RequestKind, _ error: MockCluster.InjectedError) {
        (self.step, self.error) = (step, error)
    }

    init(
        _ step: MockCluster.RequestKind,
        _ error: MockCluster.InjectedError,
        _ kind: KafkaError.Kind,
        _ recovery: KafkaError.Recovery
    ) {
        (self.step, self.error, self.kind, self.recovery) = (step, error, kind, recovery)
    }

    var description: String { "\(step): \(error)" }

    /// The protocol, in the order in which a transaction takes its steps.
    static let steps: [MockCluster.RequestKind] = [
        .initProducerID, .addPartitionsToTransaction, .produce, .addOffsetsToTransaction, .transactionOffsetCommit,
        .endTransaction,
    ]

    /// Retriable: the library tries again, and nobody hears of it.
    static let passing = [
        Self(.initProducerID, .coordinatorLoading),
        Self(.initProducerID, .notCoordinator),
        Self(.initProducerID, .concurrentTransactions),
        Self(.initProducerID, .disconnect),
        Self(.addPartitionsToTransaction, .coordinatorNotAvailable),
        Self(.addPartitionsToTransaction, .concurrentTransactions),
        Self(.addPartitionsToTransaction, .disconnect),
        Self(.produce, .notLeaderForPartition),
        Self(.produce, .notEnoughReplicas),
        Self(.addOffsetsToTransaction, .coordinatorNotAvailable),
        Self(.addOffsetsToTransaction, .disconnect),
        Self(.transactionOffsetCommit, .coordinatorLoading),
        Self(.transactionOffsetCommit, .notCoordinator),
        Self(.endTransaction, .coordinatorLoading),
        Self(.endTransaction, .notCoordinator),
        Self(.endTransaction, .disconnect),
    ]

    /// Abortable: the transaction is aborted, says so, and can be done again with the same producer. Initialising is not
    /// among the steps: nothing has begun that could be aborted.
    static let aborting = [
        Self(.addPartitionsToTransaction, .topicAuthorizationFailed, .authorization, .fixRequest),
        Self(.addPartitionsToTransaction, .unknownProducerID, .broker, .retry),
        Self(.produce, .messageTooLarge, .messageTooLarge, .fixRequest),
        Self(.produce, .topicAuthorizationFailed, .authorization, .fixRequest),
        Self(.addOffsetsToTransaction, .groupAuthorizationFailed, .authorization, .fixRequest),
        Self(.addOffsetsToTransaction, .unknown, .broker, .retry),
        Self(.transactionOffsetCommit, .illegalGeneration, .assignmentEnded, .retry),
        Self(.transactionOffsetCommit, .unknownMember, .assignmentEnded, .retry),
        Self(.transactionOffsetCommit, .groupAuthorizationFailed, .authorization, .fixRequest),
        Self(.endTransaction, .unknown, .broker, .retry),
        Self(.endTransaction, .invalidProducerIDMapping, .broker, .retry),
    ]

    /// Fatal: the producer says the same at each use, until `recreate()`.
    static let final = [
        Self(.initProducerID, .producerFenced, .fenced, .recreateClient),
        Self(.initProducerID, .invalidProducerEpoch, .fenced, .recreateClient),
        Self(.addPartitionsToTransaction, .producerFenced, .fenced, .recreateClient),
        Self(.addPartitionsToTransaction, .invalidTransactionState, .fatal, .recreateClient),
        Self(.produce, .invalidProducerEpoch, .fenced, .recreateClient),
        Self(.addOffsetsToTransaction, .invalidProducerEpoch, .fenced, .recreateClient),
        Self(.addOffsetsToTransaction, .invalidTransactionState, .fatal, .recreateClient),
        Self(.transactionOffsetCommit, .invalidProducerEpoch, .fenced, .recreateClient),
        Self(.transactionOffsetCommit, .invalidTransactionState, .fatal, .recreateClient),
        Self(.endTransaction, .producerFenced, .fenced, .recreateClient),
        Self(.endTransaction, .invalidTransactionState, .fatal, .recreateClient),
    ]
}

/// Errors at every step of a transaction's protocol: those that pass are not seen, those that require it abort, and a
/// producer that cannot go on says so until it is made anew. Whatever happened, the deliveries are handed out again, and
/// everything is done once in the end.
@Suite(.enabled(if: TestCluster.isMock, "injects faults"), .timeLimit(.minutes(5)))
struct TransactionFaultTests {
    /// A consumer with a delivery for each fault, and a producer.
    private struct Fixture {
        let cluster: TestCluster
        let output: String
        let count: Int
        let consumer: KafkaConsumer
        let producer: KafkaTransactionalProducer

        init(count: Int, name: String = #function) async throws {
            self.count = count
            cluster = try TestCluster()
            let input = try await cluster.makeTopic(name: name + "in")
            output = try await cluster.makeTopic(name: name + "out")
            try await cluster.fill(input, count: count)
            consumer = try KafkaConsumer(cluster.quickConsumer(input), logger: .test)
            var configuration = cluster.transactionalConfiguration()
            configuration.operationTimeout = .seconds(20)
            configuration.additionalProperties["retry.backoff.ms"] = "10"
            producer = try KafkaTransactionalProducer(configuration, logger: .test)
            try await producer.initialize()
        }

        /// Lets the next request of a step fail.
        func inject(_ fault: TransactionFault) throws {
            try cluster.mock.inject([fault.error], into: fault.step, broker: 1)
        }

        /// Whether the fault was met: otherwise nothing was shown.
        func isMet(_ fault: TransactionFault) throws -> Bool {
            try cluster.mock.pendingErrors(for: fault.step, broker: 1) == 0
        }

        /// Sends and consumes in one transaction.
        func attempt(_ delivery: KafkaConsumer.Delivery, sending value: String) async -> KafkaError? {
            await kafkaError {
                try await producer.withTransaction { transaction in
                    try await transaction.enqueue(KafkaMessage(topic: output, value: KafkaBytes(value)))
                    try transaction.acknowledge(delivery, from: consumer)
                }
            }
        }

        /// Everything was done once, in order, beside what the mock cluster shows although it was aborted.
        func finish() async throws {
            let values = try await Kcat(cluster).committedValues(output)
            #expect(values.filter { $0 != "aborted" } == (0..<count).map(String.init))
            await consumer.close()
            await producer.close()
            try await cluster.mock.shutdown()
        }
    }

    @Test func everyStepMeetsFaultsOfEverySeverity() {
        let steps = Set(TransactionFault.steps)
        #expect(Set(TransactionFault.passing.map(\.step)) == steps)
        #expect(Set(TransactionFault.aborting.map(\.step)) == steps.subtracting([.initProducerID]))
        #expect(Set(TransactionFault.final.map(\.step)) == steps)
    }

    @Test func errorsThatPassAreRetriedAtEveryStep() async throws {
        let faults = TransactionFault.passing
        let fixture = try await Fixture(count: faults.count)
        for (number, fault) in faults.enumerated() {
            try fixture.inject(fault)
            // Otherwise it is initialised already.
            if fault.step == .initProducerID { try await fixture.producer.recreate() }
            let delivery = try await fixture.consumer.take(1)[0]
            #expect(delivery.attempt == 1)
            let error = await fixture.attempt(delivery, sending: "\(number)")
            #expect(error == nil, "\(fault)")
            #expect(try fixture.isMet(fault), "\(fault)")
        }
        try await fixture.finish()
    }

    @Test func errorsThatRequireItAbortAndEverythingIsDoneAgain() async throws {
        let faults = TransactionFault.aborting
        let fixture = try await Fixture(count: faults.count)
        for (number, fault) in faults.enumerated() {
            try fixture.inject(fault)
            let delivery = try await fixture.consumer.take(1)[0]
            let error = await fixture.attempt(delivery, sending: "aborted")
            #expect(error?.kind == fault.kind, "\(fault)")
            #expect(error?.recovery == fault.recovery, "\(fault)")
            #expect(error?.persistence == .notPersisted, "\(fault)")
            #expect(try fixture.isMet(fault), "\(fault)")

            let again = try await fixture.consumer.take(1)[0]
            #expect(again.text == "\(number)", "\(fault)")
            #expect(again.attempt == 2, "\(fault)")
            let next = await fixture.attempt(again, sending: again.text)
            #expect(next == nil, "\(fault)")
        }
        try await fixture.finish()
    }

    @Test func aProducerThatCannotGoOnSaysSoUntilItIsMadeAnew() async throws {
        let faults = TransactionFault.final
        let fixture = try await Fixture(count: faults.count)
        for (number, fault) in faults.enumerated() {
            let isFirstStep = fault.step == .initProducerID
            try fixture.inject(fault)
            let delivery = try await fixture.consumer.take(1)[0]
            let error =
                isFirstStep
                ? await kafkaError { try await fixture.producer.recreate() }
                : await fixture.attempt(delivery, sending: "aborted")
            #expect(error?.kind == fault.kind, "\(fault)")
            #expect(error?.recovery == fault.recovery, "\(fault)")
            // A commit that was sent may have been answered before, and the answer lost.
            let isSent = fault.step == .endTransaction
            #expect(error?.persistence == (isSent ? .possiblyPersisted : .notPersisted), "\(fault)")
            #expect(try fixture.isMet(fault), "\(fault)")

            for _ in 0..<2 {
                let later = await kafkaError { try await fixture.producer.withTransaction { _ in } }
                #expect(later?.kind == fault.kind, "\(fault)")
                #expect(later?.recovery == .recreateClient, "\(fault)")
            }
            try await fixture.producer.recreate()
            let again = isFirstStep ? delivery : try await fixture.consumer.take(1)[0]
            #expect(again.text == "\(number)", "\(fault)")
            #expect(again.attempt == (isFirstStep ? 1 : 2), "\(fault)")
            let next = await fixture.attempt(again, sending: again.text)
            #expect(next == nil, "\(fault)")
        }
        try await fixture.finish()
    }

    /// The same, where it is a send inside that finds it out, and its error leaves the transaction.
    @Test func aSendThatFailsForGoodIsSaidUntilTheProducerIsMadeAnew() async throws {
        let fixture = try await Fixture(count: 1)
        let fault = TransactionFault(.addPartitionsToTransaction, .invalidTransactionState, .fatal, .recreateClient)
        try fixture.inject(fault)
        let message = KafkaMessage(topic: fixture.output, value: "0")
        let error = await kafkaError {
            try await fixture.producer.withTransaction { _ = try await $0.send(message) }
        }
        #expect(error?.kind == .fatal)
        #expect(try fixture.isMet(fault))
        for _ in 0..<2 {
            let later = await kafkaError { try await fixture.producer.withTransaction { _ in } }
            #expect(later?.kind == .fatal)
            #expect(later?.recovery == .recreateClient)
        }
        try await fixture.producer.recreate()
        try await fixture.producer.withTransaction { _ = try await $0.send(message) }
        try await fixture.finish()
    }

    /// A coordinator that has fenced the producer says so where librdkafka expects it, and elsewhere as an error that requires
    /// an abort, which is then refused.
    @Test func aProducerThatIsFoundToBeFencedWhenItAbortsSaysThat() async throws {
        let fixture = try await Fixture(count: 1)
        try fixture.inject(.init(.addOffsetsToTransaction, .producerFenced))
        try fixture.inject(.init(.endTransaction, .producerFenced))
        let error = await fixture.attempt(try await fixture.consumer.take(1)[0], sending: "aborted")
        #expect(error?.kind == .fenced)
        #expect(error?.recovery == .recreateClient)
        #expect(error?.persistence == .notPersisted)
        try await fixture.producer.recreate()
        let again = await fixture.attempt(try await fixture.consumer.take(1)[0], sending: "0")
        #expect(again == nil)
        try await fixture.finish()
    }

    @Test func aTransactionThatTheCoordinatorEndedForItsAgeSaysSoTheFirstTime() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.transactionalConfiguration()
        configuration.transactionTimeout = .seconds(10)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let error = await kafkaError {
            try await producer.withTransaction { transaction in
                let start = ContinuousClock.now
                try await transaction.send(KafkaMessage(topic: topic, value: "late"))
                try await waitUntil { start.duration(to: .now) > .seconds(10) }
                try cluster.mock.inject([.producerFenced], into: .endTransaction)
            }
        }
        #expect(error?.kind == .fenced)
        #expect(error?.recovery == .recreateClient)
        #expect(error?.persistence == .notPersisted)
        #expect(error?.reason.contains("transactionTimeout") == true, "\(error as Any)")
        let later = await kafkaError { try await producer.withTransaction { _ in } }
        #expect(later?.kind == error?.kind)
        #expect(later?.recovery == error?.recovery)
        try await producer.recreate()
        try await producer.withTransaction { try await $0.enqueue(KafkaMessage(topic: topic, value: "next")) }
        await producer.close()
    }

    /// What the code throws says that the transaction can be done again, and then it cannot.
    @Test func aTransactionWhoseCodeThrowsAnErrorThatPassesSaysWhereTheProducerIsFenced() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        let passing = KafkaError(.timedOut, recovery: .retry, reason: "passing")
        struct Other: Error {}
        for thrown in [passing, Other()] as [any Error] {
            var caught: (any Error)?
            do {
                try await producer.withTransaction { transaction in
                    try await transaction.send(KafkaMessage(topic: topic, value: "x"))
                    try cluster.mock.inject([.producerFenced], into: .endTransaction)
                    throw thrown
                }
            } catch {
                caught = error
            }
            if thrown is Other { #expect(caught is Other) } else { #expect((caught as? KafkaError)?.kind == .fenced) }
            let later = await kafkaError { try await producer.withTransaction { _ in } }
            #expect(later?.recovery == .recreateClient)
            try await producer.recreate()
        }
        await producer.close()
    }

    /// A commit that fails for no known reason and an abort that is refused: the coordinator may have committed.
    @Test func aCommitThatCannotBeAbortedIsUnknownAndTheNextTransactionWorks() async throws {
        let fixture = try await Fixture(count: 1)
        try fixture.cluster.mock.inject([.unknown, .invalidTransactionState], into: .endTransaction, broker: 1)
        let error = await fixture.attempt(try await fixture.consumer.take(1)[0], sending: "aborted")
        #expect(error?.kind == .transactionOutcomeUnknown)
        #expect(error?.persistence == .possiblyPersisted)
        #expect(error?.recovery == .retry)
        // Initialising finds out; the mock cluster's group knows nothing of it.
        try await fixture.producer.initialize()
        let again = try await fixture.consumer.take(1)[0]
        #expect(again.attempt == 2)
        let next = await fixture.attempt(again, sending: "0")
        #expect(next == nil)
        try await fixture.finish()
    }
}
