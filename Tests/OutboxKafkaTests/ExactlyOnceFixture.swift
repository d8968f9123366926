import DeliveryTesting
import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import OutboxDelivery
import OutboxKafka
import OutboxPostgres
import OutboxTesting

/// An outbox in a schema of its own, a topic, and the brokers in `KAFKA_BOOTSTRAP_SERVERS`, or a mock cluster: that one shows no more than
/// that nothing stands in the way, for it hides no aborted records, keeps no offsets of transactions and fences no producer.
struct ExactlyOnceFixture {
    static let realServers: [String]? = ProcessInfo.processInfo.environment["KAFKA_BOOTSTRAP_SERVERS"]
        .flatMap { $0.isEmpty ? nil : $0.split(separator: ",").map(String.init) }

    private static let database = Task { () async throws -> (url: String, server: PostgresServer?) in
        if let url = ProcessInfo.processInfo.environment["POSTGRES_URL"] { return (url, nil) }
        let server = try await PostgresServer.start()
        return (server.url, server)
    }

    let name: String
    let url: String
    let servers: [String]
    let outbox: PostgresOutbox
    let writer: LibpqConnection
    let mock: MockCluster?

    /// - Parameters:
    ///   - topicSettings: The topic's own, on a real cluster.
    ///   - sessionTimeout: After what time without a sign of life a publisher of this process loses its slots. What it had under way is
    ///     sent again on a mock cluster, so that it is longer than a busy machine keeps a publisher waiting.
    static func make(
        topicSettings: [String: String] = [:],
        sessionTimeout: Duration = .seconds(60)
    ) async throws -> ExactlyOnceFixture {
        let name = "once" + String(UInt64.random(in: .min ... .max), radix: 36)
        let database = try await database.value.url
        let setUp = try await LibpqConnection.open(LibpqSettings(database))
        try await setUp.query(OutboxStatement("CREATE SCHEMA \(name)"))
        await setUp.close()
        let url = database + (database.contains("?") ? "&" : "?") + "options=-csearch_path%3D" + name
        var configuration = try PostgresOutbox.Configuration(LibpqSettings(url))
        configuration.sessionTimeout = sessionTimeout
        let outbox = try PostgresOutbox(configuration)
        try await outbox.migrate()
        let mock = realServers == nil ? try MockCluster() : nil
        try mock?.createTopic(name, partitions: 1)
        if let realServers, !topicSettings.isEmpty {
            try await ClusterAdministration(servers: realServers).createTopic(name, settings: topicSettings)
        }
        let fixture = ExactlyOnceFixture(
            name: name,
            url: url,
            servers: realServers ?? mock?.bootstrapServers ?? [],
            outbox: outbox,
            writer: try await LibpqConnection.open(LibpqSettings(url)),
            mock: mock
        )
        // Makes the topic on a real cluster.
        try await fixture.sendMark("begin")
        return fixture
    }

    func close() async {
        await writer.close()
        await outbox.close()
        await mock?.shutdown()
    }

    // MARK: Writing and publishing

    /// So many events of as many keys, in one partition, in order; several transactions.
    func write(_ count: Int, keys: Int = 16, from first: Int = 0) async throws {
        for start in stride(from: first, to: first + count, by: 50) {
            let messages = (start..<min(start + 50, first + count)).map { number in
                OutboxMessage(
                    topic: name,
                    key: "k\(number % keys)",
                    payload: "\(number)",
                    attributes: ["partition": "0"]
                )
            }
            try await writer.query(outbox.table.insert(messages))
        }
    }

    func destination(
        _ configure: (inout KafkaExactlyOnceDestination.Configuration) -> Void = { _ in }
    ) throws -> KafkaExactlyOnceDestination {
        var configuration = KafkaExactlyOnceDestination.Configuration(name: name, bootstrapServers: servers)
        configuration.maximumBatchCount = 64
        configure(&configuration)
        return try KafkaExactlyOnceDestination(configuration, logger: Self.logger)
    }

    func publisher(_ destination: any OutboxDestination) -> OutboxPublisher {
        var configuration = OutboxPublisher.Configuration()
        // What has no place is parked after three attempts.
        configuration.retry.unroutablePatience = .zero
        return OutboxPublisher(
            store: outbox,
            destinations: ["kafka": destination],
            configuration: configuration,
            logger: Self.logger
        )
    }

    static let logger = Logger(label: "once", factory: { _ in SwiftLogNoOpLogHandler() })

    /// A publisher in a process of its own.
    ///
    /// - Parameters:
    ///   - step: Where it ends suddenly, as `TestPublisher` names it; nil for nowhere.
    ///   - count: When it comes there for the so-manieth time.
    func process(_ step: String? = nil, count: Int = 1, exactlyOnce: Bool = true) throws -> ChildProcess {
        try ChildProcess(
            OutboxHistoryRun.publisherProgram,
            [url, servers.joined(separator: ","), "3", exactlyOnce ? name : "-"]
                + (step.map { [$0, "\(count)"] } ?? []),
            errors: ProcessInfo.processInfo.environment["OUTBOX_HISTORY_LOG"] ?? "/dev/null"
        )
    }

    /// Waits until a query's first value is what it should be.
    func wait(_ query: String, until expected: Int64 = 0) async throws {
        while try await writer.query(OutboxStatement(query)).integer(0, 0) != expected {
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    func waitUntilPublished() async throws { try await wait("SELECT count(*) FROM outbox") }

    // MARK: What is in Kafka

    private func sendMark(_ value: String) async throws {
        let producer = try KafkaProducer(.init(bootstrapServers: servers))
        _ = try await producer.send(KafkaMessage(topic: name, partition: 0, key: value, value: value))
        await producer.close()
    }

    /// What readers of committed messages get, in order.
    func committed() async throws -> [(key: String, value: String)] {
        try await sendMark("end")
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: servers,
            partitions: [KafkaTopicPartition(topic: name, partition: 0)]
        )
        configuration.autoOffsetReset = .beginning
        configuration.isolation = .readCommitted
        let consumer = try KafkaConsumer(configuration)
        var records: [(key: String, value: String)] = []
        for try await delivery in consumer.deliveries {
            delivery.acknowledge()
            let key = delivery.key?.string ?? ""
            if key == "end" { break }
            if key != "begin" { records.append((key, delivery.value?.string ?? "")) }
        }
        await consumer.close()
        return records
    }

    /// Whether each of the numbers below a count is there once, and each key's are in order.
    ///
    /// - Parameter repeats: How many may be there again.
    static func check(_ records: [(key: String, value: String)], count: Int, repeats: Int = 0) -> String? {
        var last: [String: Int] = [:]
        var seen: Set<Int> = []
        if records.count > count + repeats { return "\(records.count - count) are there again" }
        for (key, value) in records {
            guard let number = Int(value) else { return "\(value) is no number" }
            guard seen.insert(number).inserted else {
                if repeats == 0 { return "\(number) is there twice" }
                continue
            }
            if let before = last[key], before > number { return "\(number) comes after \(before)" }
            last[key] = number
        }
        return seen.count == count ? nil : "\(count - seen.count) are lost"
    }
}
