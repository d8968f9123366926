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

    /// All that is stored now; in the order of each partition.
    static func all(_ topic: String, partitions count: Int, servers: [String]) async throws -> [Record] {
        let partitions = (0..<count).map { KafkaTopicPartition(topic: topic, partition: $0) }
        var configuration = KafkaConsumer.Configuration(bootstrapServers: servers, partitions: partitions)
        configuration.autoOffsetReset = .beginning
        let consumer = try KafkaConsumer(configuration)
        let marks = try await consumer.watermarks(of: partitions)
        var left = Set(marks.filter { $0.value.end > $0.value.beginning }.map(\.key))
        var records: [Record] = []
        if !left.isEmpty {
            for try await delivery in consumer.deliveries {
                records.append(
                    Record(
                        partition: delivery.partition,
                        offset: delivery.offset,
                        key: delivery.key?.string,
                        value: delivery.value?.string ?? "",
                        headers: delivery.headers
                    )
                )
                delivery.acknowledge()
                let place = KafkaTopicPartition(topic: topic, partition: delivery.partition)
                if let mark = marks[place], delivery.offset >= mark.end - 1 { left.remove(place) }
                if left.isEmpty { break }
            }
        }
        await consumer.close()
        return records
    }
}
