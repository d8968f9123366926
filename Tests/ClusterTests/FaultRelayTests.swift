import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// What clients make of a bad network. The faults are the relay's, so all of it holds for a real cluster too.
@Suite(.timeLimit(.minutes(5)))
struct FaultRelayTests {
    private func routed(_ cluster: TestCluster, _ relay: FaultRelay) -> KafkaProducer.Configuration {
        var configuration = cluster.producerConfiguration()
        // Looks again soon after a cut.
        configuration.additionalProperties = ["reconnect.backoff.ms": "10", "reconnect.backoff.max.ms": "50"]
        relay.route(&configuration)
        return configuration
    }

    @Test func everyConnectionOfARoutedClientGoesThroughTheRelay() async throws {
        let cluster = try TestCluster(brokers: 3)
        let topic = try await cluster.makeTopic(partitions: 3)
        let relay = try FaultRelay()
        try await withKafkaProducer(routed(cluster, relay), logger: .test) { producer in
            for partition in 0..<3 {
                try await producer.send(KafkaMessage(topic: topic, partition: partition, value: "x"))
            }
        }
        for partition in 0..<3 { #expect(try await Kcat(cluster).count(topic, partition: partition) == 1) }
        #expect(relay.statistics.connections >= (TestCluster.isMock ? 3 : 1))
        try await waitUntil { relay.statistics.openConnections == 0 }
    }

    /// The difference that idempotence makes, where the broker keeps its part: `SequenceTests` has the other half.
    @Test func aLostConfirmationMakesARetryStoreTheMessageTwice() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let relay = try FaultRelay()
        var configuration = routed(cluster, relay)
        configuration.idempotence = false
        try await withKafkaProducer(configuration, logger: .test) { producer in
            try await producer.send(KafkaMessage(topic: topic, value: "before"))
            relay.faults.responseLoss = .init(probability: 1)
            let pending = try await producer.enqueue(KafkaMessage(topic: topic, value: "x"))
            try await waitUntil { relay.statistics.lostResponses > 0 }
            relay.faults.responseLoss = nil
            // Stored each time that its confirmation was lost, and once more.
            let offset = try await pending.report.offset
            #expect(offset == Int64(relay.statistics.lostResponses + 1))
            #expect(try await Kcat(cluster).count(topic, partition: 0) == Int(offset) + 1)
        }
        let stored = try await Kcat(cluster).read(topic, partition: 0, count: 3, format: "%s ")
        #expect(String(decoding: stored, as: UTF8.self) == "before x x ")
    }

    @Test func onlyTheAnswersThatWereAskedForAreLost() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let relay = try FaultRelay()
        relay.faults.responseLoss = .init(probability: 1, kinds: [.fetch, .joinGroup])
        try await withKafkaProducer(routed(cluster, relay), logger: .test) { producer in
            for number in 0..<20 { try await producer.send(KafkaMessage(topic: topic, value: "\(number)")) }
        }
        #expect(relay.statistics.lostResponses == 0)
        #expect(relay.statistics.cuts == 0)
    }

    @Test func aBlackHoleEndsInATimeOutThatMayBePersisted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let relay = try FaultRelay()
        var configuration = routed(cluster, relay)
        configuration.messageTimeout = .seconds(10)
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        relay.faults.responses.isBlackHole = true
        do {
            try await producer.send(KafkaMessage(topic: topic, value: "x"))
            Issue.record("the send should have failed")
        } catch {
            #expect(error.persistence == .possiblyPersisted)
        }
        relay.faults.responses.isBlackHole = false
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 2)
        await producer.close(within: .seconds(5))
    }

    @Test func delayedAnswersAreAwaited() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let relay = try FaultRelay()
        try await withKafkaProducer(routed(cluster, relay), logger: .test) { producer in
            try await producer.send(KafkaMessage(topic: topic, value: "before"))
            relay.faults.requests.delay = .milliseconds(50)
            relay.faults.responses.delay = .milliseconds(50)
            let start = ContinuousClock.now
            try await producer.send(KafkaMessage(topic: topic, value: "x"))
            #expect(start.duration(to: .now) >= .milliseconds(100))
        }
    }

    @Test func aConsumerWhoseConnectionsAreCutMissesNothing() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 2_000)
        let relay = try FaultRelay(seed: 3)
        relay.faults.responses.meanBytesBetweenCuts = 20_000
        var configuration = cluster.quickConsumer(topic)
        configuration.additionalProperties["reconnect.backoff.ms"] = "10"
        configuration.additionalProperties["reconnect.backoff.max.ms"] = "50"
        // A fetch is smaller than what passes between two cuts, mostly.
        configuration.prefetch.maximumBytes = 8 << 10
        relay.route(&configuration)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            var seen: [Int: Set<String>] = [:]
            for try await delivery in consumer.deliveries {
                seen[delivery.partition, default: []].insert(delivery.text)
                delivery.acknowledge()
                if seen.values.reduce(0, { $0 + $1.count }) == 4_000 { break }
            }
            relay.faults = .init()
        }
        #expect(relay.statistics.cuts > 0)
    }

    @Test func withoutItsRelayARoutedClientFindsNoBroker() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let relay = try FaultRelay()
        var configuration = routed(cluster, relay)
        configuration.messageTimeout = .seconds(10)
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "x"))
        await relay.shutdown()
        do {
            try await producer.send(KafkaMessage(topic: topic, value: "y"))
            Issue.record("the send should have failed")
        } catch {
            // It may have been written to a connection that was not known to be dead yet.
            #expect([.brokersUnreachable, .timedOut].contains(error.kind))
        }
        await producer.close(within: .seconds(5))
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 1)
    }

    @Test func aRelayLivesAsLongAsAClientThatItRoutes() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(routed(cluster, FaultRelay()), logger: .test)
        let report = try await producer.send(KafkaMessage(topic: topic, value: "x"))
        #expect(report.offset == 0)
        await producer.close()
    }
}
