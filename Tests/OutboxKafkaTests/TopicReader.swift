import KafkaDelivery

/// Reads a topic from its beginning, with nothing of the publisher's.
enum TopicReader {
    struct Record: Sendable {
        let partition: Int
        let offset: Int64
        let key: String?
        let value: String
        let headers: KafkaHeaders

        var idempotencyKey: String? { headers[KafkaMessage.idempotencyKeyHeader]?.string }
    }

    /// All that is stored now, and committed; in the order of each partition. A mark behind it says where that ends: behind what a
    /// transaction has stored there are records that no reader gets.
    static func all(_ topic: String, partitions count: Int, servers: [String]) async throws -> [Record] {
        let partitions = (0..<count).map { KafkaTopicPartition(topic: topic, partition: $0) }
        var configuration = KafkaConsumer.Configuration(bootstrapServers: servers, partitions: partitions)
        configuration.autoOffsetReset = .beginning
        configuration.isolation = .readCommitted
        let end = "end-" + String(UInt64.random(in: .min ... .max), radix: 36)
        let producer = try KafkaProducer(.init(bootstrapServers: servers))
        for partition in 0..<count {
            try await producer.send(KafkaMessage(topic: topic, partition: partition, key: end, value: end))
        }
        await producer.close()
        let consumer = try KafkaConsumer(configuration)
        var left = count
        var records: [Record] = []
        for try await delivery in consumer.deliveries {
            delivery.acknowledge()
            if delivery.key?.string == end {
                left -= 1
                if left == 0 { break }
            }
            // Of an earlier reading, too.
            if let key = delivery.key?.string, key.hasPrefix("end-") { continue }
            records.append(
                Record(
                    partition: delivery.partition,
                    offset: delivery.offset,
                    key: delivery.key?.string,
                    value: delivery.value?.string ?? "",
                    headers: delivery.headers
                )
            )
        }
        await consumer.close()
        return records
    }
}
