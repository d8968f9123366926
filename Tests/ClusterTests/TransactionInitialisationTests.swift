import KafkaDelivery
import KafkaDeliveryTesting
import Testing

@testable import struct KafkaDelivery.KafkaError

/// A transactional producer that the coordinator does not let initialise now, or at all: nothing has begun, so the next use tries
/// again.
@Suite(.enabled(if: TestCluster.isMock, "injects faults"), .timeLimit(.minutes(5)))
struct TransactionInitialisationTests {
    @Test func aProducerWhoseEarlierTransactionIsStillBeingEndedIsToldToTryAgain() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.transactionalConfiguration()
        configuration.operationTimeout = .seconds(10)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        try cluster.mock.inject(Array(repeating: .concurrentTransactions, count: 1_000), into: .initProducerID)
        let error = await kafkaError { try await producer.withTransaction { _ in } }
        // The coordinator's answer, or that the time is over where librdkafka was about to ask again.
        #expect(["CONCURRENT_TRANSACTIONS", "_TIMED_OUT"].contains(error?.code))
        #expect(error?.recovery == .retry)
        #expect(error?.persistence == .notPersisted)
        try cluster.mock.clearErrors(for: .initProducerID)
        try await producer.withTransaction { _ = try await $0.send(KafkaMessage(topic: topic, value: "next")) }
        #expect(try await Kcat(cluster).committedValues(topic) == ["next"])
        await producer.close()
    }

    @Test func aProducerThatIsNotAllowedToInitialiseCanTryAgain() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        for error in [MockCluster.InjectedError.transactionalIDAuthorizationFailed, .clusterAuthorizationFailed] {
            let producer = try cluster.transactionalProducer()
            try cluster.mock.inject([error], into: .initProducerID)
            let refused = await kafkaError { try await producer.initialize() }
            #expect(refused?.kind == .authorization)
            #expect(refused?.recovery == .fixRequest)
            try await producer.withTransaction { try await $0.enqueue(KafkaMessage(topic: topic, value: "x")) }
            await producer.close()
        }
    }
}
