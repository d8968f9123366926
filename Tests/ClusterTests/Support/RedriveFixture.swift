import Foundation
import KafkaDelivery

/// A topic and its dead letters.
struct RedriveFixture {
    let cluster: TestCluster
    let topic: String
    let letters: String
    let producer: KafkaProducer

    init(partitions: Int = 1, name: String = #function) async throws {
        cluster = try TestCluster()
        topic = try await cluster.makeTopic(partitions: partitions, name: name)
        letters = try await cluster.makeTopic(partitions: partitions, name: name + "dlt")
        producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
    }

    var configuration: KafkaRedrive.Configuration {
        var configuration = KafkaRedrive.Configuration(bootstrapServers: cluster.bootstrapServers, topic: letters)
        configuration.sessionTimeout = TestCluster.isMock ? .seconds(4) : .seconds(6)
        configuration.heartbeatInterval = .milliseconds(100)
        if TestCluster.isMock { configuration.additionalProperties["max.poll.interval.ms"] = "45000" }
        return configuration
    }

    /// The headers of a dead letter, as bytes, as Spring Kafka writes them.
    func headers(partition: Int, error: String = "declined") -> KafkaHeaders {
        [
            "kafka_dlt-original-topic": KafkaBytes(topic),
            "kafka_dlt-original-partition": [0, 0, 0, UInt8(partition)],
            "kafka_dlt-original-offset": [0, 0, 0, 0, 0, 0, 0, 9],
            "kafka_dlt-exception-fqcn": "Shop.Failure",
            "kafka_dlt-exception-message": KafkaBytes(error),
        ]
    }

    /// Adds dead letters, valued "0", "1" and so on.
    func add(_ count: Int, partition: Int = 0, error: (Int) -> String = { _ in "declined" }) async throws {
        let messages = (0..<count).map { number in
            KafkaMessage(
                topic: letters,
                partition: partition,
                value: "\(number)",
                headers: headers(partition: partition, error: error(number))
            )
        }
        for result in await producer.send(contentsOf: messages) { _ = try result.get() }
    }

    @discardableResult
    func run(_ change: (inout KafkaRedrive.Configuration) -> Void = { _ in }) async throws -> KafkaRedrive.Summary {
        var configuration = configuration
        change(&configuration)
        return try await KafkaRedrive(configuration, logger: .test).run(with: producer)
    }

    /// The values in a partition of the original topic.
    func replays(_ partition: Int = 0) async throws -> [String] {
        let output = try await Kcat(cluster).run([
            "-C", "-q", "-t", topic, "-p", "\(partition)", "-o", "beginning", "-e", "-f", "%s\n",
        ])
        return String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    func committed(_ partition: Int = 0) async throws -> Int64? {
        try await GroupOffsets(cluster, configuration.group).committed(letters, partition)
    }
}

extension KafkaTimestamp {
    /// As headers have it: 8 bytes, big-endian.
    var bytes: KafkaBytes { KafkaBytes(withUnsafeBytes(of: millisecondsSince1970.bigEndian) { Array($0) }) }
}
