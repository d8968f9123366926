import KafkaDelivery
import KafkaDeliveryTesting
import OutboxDelivery
import OutboxKafka
import Synchronization

/// A topic of one partition with messages, its dead letters, and a consumer that begins at an inbox.
struct MemoryInboxFixture {
    let cluster: MockCluster
    let inbox: MemoryInbox
    let producer: KafkaProducer
    let partition = InboxPlace(topic: "orders", partition: 0)

    /// - Parameter size: How many bytes a message has; dead letters have 10,000 at most.
    static func make(_ count: Int, size: Int = 1, _ inbox: MemoryInbox) async throws -> MemoryInboxFixture {
        let cluster = try MockCluster()
        for topic in ["orders", "orders-dlt"] { try cluster.createTopic(topic, partitions: 1) }
        let writer = try KafkaProducer(.init(bootstrapServers: cluster.bootstrapServers))
        for _ in 0..<count {
            let value = KafkaBytes([UInt8](repeating: 1, count: size))
            try await writer.send(KafkaMessage(topic: "orders", partition: 0, key: "a", value: value))
        }
        await writer.close()
        var configuration = KafkaProducer.Configuration(bootstrapServers: cluster.bootstrapServers)
        configuration.maximumMessageBytes = 10_000
        return MemoryInboxFixture(cluster: cluster, inbox: inbox, producer: try KafkaProducer(configuration))
    }

    func consumer() throws -> KafkaConsumer {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: cluster.bootstrapServers,
            partitions: [KafkaTopicPartition(topic: "orders", partition: 0)]
        )
        configuration.maximumFetchWait = .milliseconds(10)
        configuration.autoOffsetReset = .beginning
        configuration.begin(at: inbox)
        return try KafkaConsumer(configuration, logger: ExactlyOnceFixture.logger)
    }

    func letters(_ onRefusal: KafkaDeadLetters.Refusal = .hold) -> KafkaDeadLetters {
        KafkaDeadLetters(producer: producer, onRefusal: onRefusal)
    }

    /// How many dead letters there are.
    func letterCount() async throws -> Int {
        try await TopicReader.all("orders-dlt", partitions: 1, servers: cluster.bootstrapServers).count
    }

    func close() async {
        await producer.close()
        await cluster.shutdown()
    }
}

/// Counts what tasks do.
final class Counter: Sendable {
    // A handler's task, a closure's, and the test that looks.
    private let count = Mutex(0)

    var value: Int { count.withLock { $0 } }

    func next() -> Int {
        count.withLock { count in
            count += 1
            return count
        }
    }
}
