import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// A broker refuses a producer's first request to a partition and takes those that were under way behind it, as one does that has
/// just become the partition's leader: it knows nothing of the producer, and any sequence number may be the first.
@Suite(.enabled(if: TestCluster.isMock, "injects faults"), .timeLimit(.minutes(5)))
struct UnconfirmedMessageTests {
    private static let values = ["0", "1", "2", "3", "4"]

    /// Refuses the first request. Its answer, and so all others, comes when all requests are under way.
    private static func refuseFirst(
        on cluster: TestCluster,
        _ error: MockCluster.InjectedError = .notLeaderForPartition
    ) throws {
        try cluster.mock.inject([error], into: .produce, broker: 1, delay: .seconds(3))
    }

    private static func configuration(_ cluster: TestCluster) -> KafkaProducer.Configuration {
        var configuration = cluster.producerConfiguration()
        // A request for each message.
        configuration.maximumBatchBytes = 1
        return configuration
    }

    @Test(
        arguments: [MockCluster.InjectedError.notLeaderForPartition, .notEnoughReplicas, .requestTimedOut],
        [false, true]
    )
    func whatABrokerRefusedIsNotStoredBecauseALaterMessageIs(
        _ error: MockCluster.InjectedError,
        checksSequences: Bool
    ) async throws {
        let cluster = try TestCluster(checksSequences: checksSequences)
        let topic = try await cluster.makeTopic()
        try Self.refuseFirst(on: cluster, error)
        let producer = try KafkaProducer(Self.configuration(cluster), logger: .test)
        let messages = Self.values.map { KafkaMessage(topic: topic, partition: 0, value: $0) }
        let results = await producer.send(contentsOf: messages)
        let confirmed = zip(Self.values, results).compactMap { value, result in
            if case .success = result { value } else { nil }
        }
        let stored = try await Kcat(cluster).committedValues(topic)
        #expect(stored == confirmed, "what is confirmed is stored, and nothing else")
        #expect(confirmed == ["1", "2", "3", "4"])
        let failure = try #require(await kafkaError { _ = try results[0].get() })
        #expect(failure.kind == .unconfirmed)
        #expect(failure.persistence == .possiblyPersisted)
        #expect(failure.recovery == .retry)
        // The producer goes on.
        try await producer.send(messages[0])
        #expect(try await Kcat(cluster).committedValues(topic) == ["1", "2", "3", "4", "0"])
        await producer.close()
    }

    @Test func withOneRequestInFlightItIsTriedAgainFirst() async throws {
        let cluster = try TestCluster(checksSequences: true)
        let topic = try await cluster.makeTopic()
        try Self.refuseFirst(on: cluster)
        var configuration = Self.configuration(cluster)
        configuration.maximumInFlightRequests = 1
        let producer = try KafkaProducer(configuration, logger: .test)
        let messages = Self.values.map { KafkaMessage(topic: topic, partition: 0, value: $0) }
        for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        #expect(try await Kcat(cluster).committedValues(topic) == Self.values)
        await producer.close()
    }
}
