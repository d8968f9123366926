import Foundation
import KafkaDeliveryTesting
import Testing

@testable import KafkaDelivery

/// Idempotence, on a cluster that keeps its part of the promise: Kafka itself, or a mock that checks sequence numbers.
@Suite(.timeLimit(.minutes(3)))
struct SequenceTests {
    private func routed(_ cluster: TestCluster, _ relay: FaultRelay) -> KafkaProducer.Configuration {
        var configuration = cluster.producerConfiguration()
        configuration.additionalProperties = [
            "reconnect.backoff.ms": "10", "reconnect.backoff.max.ms": "50", "retry.backoff.ms": "10",
        ]
        relay.route(&configuration)
        return configuration
    }

    @Test func aLostConfirmationIsGivenAgainForTheMessageThatIsStored() async throws {
        let cluster = try TestCluster(checksSequences: true)
        let topic = try await cluster.makeTopic()
        let relay = try FaultRelay()
        try await withKafkaProducer(routed(cluster, relay), logger: .test) { producer in
            try await producer.send(KafkaMessage(topic: topic, value: "before"))
            relay.faults.responseLoss = .init(probability: 1)
            let pending = try await producer.enqueue(KafkaMessage(topic: topic, value: "x"))
            try await waitUntil { relay.statistics.lostResponses >= 1 }
            relay.faults.responseLoss = nil
            #expect(try await pending.report.offset == 1)
            #expect(try await producer.send(KafkaMessage(topic: topic, value: "after")).offset == 2)
        }
        let stored = try await Kcat(cluster).read(topic, partition: 0, count: 3, format: "%s ")
        #expect(String(decoding: stored, as: UTF8.self) == "before x after ")
    }

    @Test(.enabled(if: Quirks.current.repeatsBatchesAsTheyWere, "this librdkafka may fail for it"))
    func aHundredThousandMessagesAreStoredOnceAndInOrderWhateverTheNetworkLoses() async throws {
        let cluster = try TestCluster(brokers: 2, checksSequences: true)
        let topic = try await cluster.makeTopic(partitions: 2)
        let relay = try FaultRelay(seed: 20_261_124)
        var configuration = routed(cluster, relay)
        configuration.additionalProperties["batch.num.messages"] = "500"
        let count = 50_000
        try await withKafkaProducer(configuration, logger: .test) { producer in
            for partition in 0..<2 {
                try await producer.send(KafkaMessage(topic: topic, partition: partition, value: "-1"))
            }
            relay.faults.responseLoss = .init(probability: 0.1)
            relay.faults.requests.meanBytesBetweenCuts = 60_000
            relay.faults.responses.meanBytesBetweenCuts = 2_000
            let messages = (0..<count).lazy.flatMap { number in
                (0..<2).map { KafkaMessage(topic: topic, partition: $0, value: "\(number)") }
            }
            for (index, result) in await producer.send(contentsOf: messages).enumerated() {
                #expect(try result.get().offset == Int64(index / 2 + 1))
            }
        }
        // Otherwise nothing was shown.
        #expect(relay.statistics.lostResponses >= 5)
        #expect(relay.statistics.cuts >= 10)
        let expected = (-1..<count).map { "\($0)\n" }.joined()
        for partition in 0..<2 {
            #expect(try await Kcat(cluster).count(topic, partition: partition) == count + 1)
            let stored = try await Kcat(cluster).read(topic, partition: partition, count: count + 1, format: "%s\n")
            #expect(String(decoding: stored, as: UTF8.self) == expected)
        }
    }

    @Test(.enabled(if: TestCluster.isMock, "it is about the mock"))
    func clientsAreLedToThePortsWhereSequencesAreChecked() async throws {
        let cluster = try TestCluster(brokers: 3, checksSequences: true)
        let topic = try await cluster.makeTopic(partitions: 3)
        let listing = String(decoding: try await Kcat(cluster).run(["-L"]), as: UTF8.self)
        for server in cluster.bootstrapServers {
            let port = try #require(server.split(separator: ":").last)
            #expect(listing.contains(":\(port)"))
        }
        try await Kcat(cluster).write(topic, ["-p", "2"], input: Data("a\nb\n".utf8))
        let read = try await Kcat(cluster).readInGroup("group-\(topic)", topic, count: 2, format: "%s ")
        #expect(read == "a b ")
    }

    @Test(.enabled(if: TestCluster.isMock, "it injects faults"))
    func aBrokerThatIsAwayIsFoundAgain() async throws {
        let cluster = try TestCluster(checksSequences: true)
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.additionalProperties = ["reconnect.backoff.ms": "10", "reconnect.backoff.max.ms": "50"]
        try await withKafkaProducer(configuration, logger: .test) { producer in
            try await producer.send(KafkaMessage(topic: topic, value: "0"))
            try cluster.mock.takeDown()
            let pending = try await producer.enqueue(KafkaMessage(topic: topic, value: "1"))
            try cluster.mock.bringUp()
            #expect(try await pending.report.offset == 1)
        }
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 2)
    }

    /// The batches behind one that fails may not be stored before it.
    @Test(.enabled(if: TestCluster.isMock, "it injects faults"))
    func anErrorInTheMiddleKeepsTheOrder() async throws {
        let cluster = try TestCluster(checksSequences: true)
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.additionalProperties = ["batch.num.messages": "10", "retry.backoff.ms": "5"]
        try await withKafkaProducer(configuration, logger: .test) { producer in
            try await producer.send(KafkaMessage(topic: topic, value: "-1"))
            try cluster.mock.inject([.none, .notEnoughReplicas, .none, .notEnoughReplicas], into: .produce)
            let messages = (0..<500).lazy.map { KafkaMessage(topic: topic, value: "\($0)") }
            for (number, result) in await producer.send(contentsOf: messages).enumerated() {
                #expect(try result.get().offset == Int64(number + 1))
            }
        }
        let stored = try await Kcat(cluster).read(topic, partition: 0, count: 501, format: "%s\n")
        #expect(String(decoding: stored, as: UTF8.self) == (-1..<500).map { "\($0)\n" }.joined())
    }
}
