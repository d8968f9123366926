import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Logging

/// The cluster that a test runs on: a mock cluster of its own, or the brokers in `KAFKA_BOOTSTRAP_SERVERS`.
struct TestCluster {
    let bootstrapServers: [String]
    /// Nil on a real cluster.
    private let ownedMock: MockCluster?

    /// Whether the tests run on mock clusters, which is what injecting faults needs.
    static var isMock: Bool { realServers == nil }

    /// The protocol of the tests' groups: `KAFKA_GROUP_PROTOCOL=consumer` is for KIP-848. What is about an eager assignment
    /// strategy is about the classic protocol.
    static let groupProtocol =
        ProcessInfo.processInfo.environment["KAFKA_GROUP_PROTOCOL"]
        .flatMap(KafkaConsumer.Configuration.GroupProtocol.init(rawValue:)) ?? .classic

    /// Printed once, so that a run's output says what it is evidence of.
    private static let announcement: Void = print(
        "On librdkafka \(LibrdkafkaVersion.current) and \(isMock ? "its mock cluster" : "a real cluster"), "
            + "with groups of the \(groupProtocol) protocol"
    )

    private static var realServers: [String]? {
        guard let servers = ProcessInfo.processInfo.environment["KAFKA_BOOTSTRAP_SERVERS"], !servers.isEmpty else {
            return nil
        }
        return servers.split(separator: ",").map(String.init)
    }

    /// - Parameter checksSequences: Whether the mock keeps a broker's part of idempotence, as a real one does anyway.
    init(brokers: Int = 1, checksSequences: Bool = false) throws {
        _ = Self.announcement
        if let servers = Self.realServers {
            self.bootstrapServers = servers
            self.ownedMock = nil
        } else {
            let mock = try MockCluster(brokers: brokers, checksSequences: checksSequences)
            self.bootstrapServers = mock.bootstrapServers
            self.ownedMock = mock
        }
    }

    /// The mock cluster, for tests that inject faults.
    var mock: MockCluster {
        get throws {
            guard let ownedMock else { throw TestFailure("this test injects faults and needs the mock cluster") }
            return ownedMock
        }
    }

    /// Makes a topic with a name that nobody used before.
    func makeTopic(partitions: Int = 1, replicationFactor: Int = 1, name: String = #function) async throws -> String {
        let topic = Self.uniqueName(name)
        if let ownedMock {
            try ownedMock.createTopic(topic, partitions: partitions, replicationFactor: replicationFactor)
        } else {
            try await TopicAdministration(bootstrapServers).create(topic, partitions: partitions)
        }
        return topic
    }

    /// Makes a topic with settings of its own, which takes a real cluster.
    func makeTopic(_ configuration: [String: String], name: String = #function) async throws -> String {
        let topic = Self.uniqueName(name)
        try await TopicAdministration(bootstrapServers).create(topic, partitions: 1, configuration: configuration)
        return topic
    }

    /// Makes a topic whose name follows from another's.
    func makeTopic(exactly topic: String, partitions: Int = 1) async throws {
        if let ownedMock {
            try ownedMock.createTopic(topic, partitions: partitions)
        } else {
            try await TopicAdministration(bootstrapServers).create(topic, partitions: partitions)
        }
    }

    /// A name that nobody used before, for a group or a topic.
    static func uniqueName(_ name: String = #function) -> String {
        let legal = name.unicodeScalars.filter { CharacterSet.alphanumerics.contains($0) }.map(String.init).joined()
        return "\(legal.prefix(60))-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
    }

    func producerConfiguration() -> KafkaProducer.Configuration {
        KafkaProducer.Configuration(bootstrapServers: bootstrapServers)
    }

    func consumerConfiguration(
        topics: [String],
        group: String = Self.uniqueName("group")
    ) -> KafkaConsumer.Configuration {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: bootstrapServers,
            group: group,
            topics: topics
        )
        guard Self.groupProtocol == .classic else {
            configuration.groupProtocol = Self.groupProtocol
            return configuration
        }
        // The mock cluster's coordinator lets a second join of a group wait for nearly this long. Not less than 4 s,
        // for it lets the first join wait for 3; a real broker takes no less than 6.
        configuration.sessionTimeout = ownedMock == nil ? .seconds(6) : .seconds(4)
        configuration.heartbeatInterval = .milliseconds(500)
        configuration.repeatForgottenJoins()
        return configuration
    }
}

/// A test cannot go on.
struct TestFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

extension Logger {
    /// For tests of what is logged as an error.
    static let silent = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    /// Keeps the tests' output readable; `KAFKA_TEST_LOG=debug` shows what the clients do.
    static let test: Logger = {
        var logger = Logger(label: "test", factory: { StreamLogHandler.standardError(label: $0) })
        let level = ProcessInfo.processInfo.environment["KAFKA_TEST_LOG"].flatMap(Logger.Level.init(rawValue:))
        logger.logLevel = level ?? .error
        return logger
    }()
}

extension KafkaTimestamp {
    /// An hour ago, and not so long that a real broker's retention could delete the message before it is read.
    static let earlier = KafkaTimestamp(
        millisecondsSince1970: Int64(Date.now.timeIntervalSince1970 * 1_000) - 3_600_000
    )

    static var now: KafkaTimestamp { KafkaTimestamp(Date.now) }

    func advanced(milliseconds: Int) -> KafkaTimestamp {
        KafkaTimestamp(millisecondsSince1970: millisecondsSince1970 + Int64(milliseconds))
    }
}
