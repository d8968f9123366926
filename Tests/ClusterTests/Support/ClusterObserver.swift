import CRdKafka
import Foundation
import KafkaDelivery
import KafkaDeliveryTesting

/// Reads what the brokers hold, with a client of librdkafka's own: what a group has committed, and what is in a log.
final class ClusterObserver: Sendable {
    /// A message as it is in the log.
    struct Stored {
        let position: DeliveryHistory.Position
        let key: String?
        let value: String
        /// Where a dead letter comes from, by its headers.
        let original: DeliveryHistory.Position?
    }

    // Used on `queue` alone.
    nonisolated(unsafe) private let client: RawClient
    // librdkafka's calls wait, which Swift's threads must not.
    private let queue = DispatchQueue(label: "ClusterObserver")

    init(_ bootstrapServers: [String], group: String) throws {
        client = try RawClient(
            RD_KAFKA_CONSUMER,
            [
                "bootstrap.servers": bootstrapServers.joined(separator: ","), "group.id": group,
                "enable.auto.commit": "false", "enable.partition.eof": "true", "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": "10",
            ]
        )
    }

    /// The group's committed offsets; nil where no broker says so in time. Partitions without one are not in it.
    func committed(_ topic: String, partitions: Int, within timeout: Duration) async -> [Int: Int64]? {
        await onQueue { client in
            Self.withPartitions(topic, partitions) { list in
                let milliseconds = Int32(timeout / .milliseconds(1))
                guard rd_kafka_committed(client.raw, list, milliseconds) == RD_KAFKA_RESP_ERR_NO_ERROR else {
                    return nil
                }
                let entries = (0..<partitions).map { list.pointee.elems[$0] }
                guard entries.allSatisfy({ $0.err == RD_KAFKA_RESP_ERR_NO_ERROR }) else { return nil }
                return Dictionary(
                    uniqueKeysWithValues: entries.filter { $0.offset >= 0 }.map { (Int($0.partition), $0.offset) }
                )
            }
        }
    }

    /// Everything that a topic's partitions hold, from their beginnings to their ends.
    func log(_ topic: String, partitions: Int) async throws -> [Stored] {
        try await onQueue { client in Result { try Self.read(client, topic, partitions) } }.get()
    }

    private static func read(_ client: RawClient, _ topic: String, _ partitions: Int) throws -> [Stored] {
        withPartitions(topic, partitions) { list in _ = rd_kafka_assign(client.raw, list) }
        defer { rd_kafka_assign(client.raw, nil) }
        var stored: [Stored] = []
        var ended: Set<Int32> = []
        let deadline = ContinuousClock.now.advanced(by: .seconds(60))
        while ended.count < partitions {
            guard ContinuousClock.now < deadline else {
                throw TestFailure("\(topic) was not read to its end: \(ended.count) of \(partitions) partitions")
            }
            guard let message = rd_kafka_consumer_poll(client.raw, 100) else { continue }
            defer { rd_kafka_message_destroy(message) }
            switch message.pointee.err {
            case RD_KAFKA_RESP_ERR_NO_ERROR: stored.append(Stored(topic, message))
            case RD_KAFKA_RESP_ERR__PARTITION_EOF: ended.insert(message.pointee.partition)
            default: continue
            }
        }
        return stored
    }

    private static func withPartitions<Result>(
        _ topic: String,
        _ partitions: Int,
        _ body: (UnsafeMutablePointer<rd_kafka_topic_partition_list_t>) -> Result
    ) -> Result {
        guard let list = rd_kafka_topic_partition_list_new(Int32(partitions)) else {
            fatalError("no memory for a list")
        }
        defer { rd_kafka_topic_partition_list_destroy(list) }
        for partition in 0..<Int32(partitions) {
            rd_kafka_topic_partition_list_add(list, topic, partition).pointee.offset = Int64(RD_KAFKA_OFFSET_BEGINNING)
        }
        return body(list)
    }

    private func onQueue<Result: Sendable>(_ body: @escaping @Sendable (RawClient) -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: body(self.client)) }
        }
    }
}

extension ClusterObserver.Stored {
    init(_ topic: String, _ message: UnsafeMutablePointer<rd_kafka_message_t>) {
        func text(_ pointer: UnsafeMutableRawPointer?, _ count: Int) -> String? {
            pointer.map { String(decoding: UnsafeRawBufferPointer(start: $0, count: count), as: UTF8.self) }
        }
        let partition = KafkaTopicPartition(topic: topic, partition: Int(message.pointee.partition))
        position = .init(partition, message.pointee.offset)
        key = text(message.pointee.key, message.pointee.key_len)
        value = text(message.pointee.payload, message.pointee.len) ?? ""
        var headers: OpaquePointer?
        rd_kafka_message_headers(message, &headers)
        func header(_ name: String) -> UnsafeRawBufferPointer? {
            var bytes: UnsafeRawPointer?
            var count = 0
            guard let headers, rd_kafka_header_get_last(headers, name, &bytes, &count) == RD_KAFKA_RESP_ERR_NO_ERROR
            else { return nil }
            return UnsafeRawBufferPointer(start: bytes, count: count)
        }
        func number(_ name: String) -> Int64? { header(name)?.reduce(0) { $0 << 8 | Int64($1) } }
        if let topic = header("kafka_dlt-original-topic"), let partition = number("kafka_dlt-original-partition"),
            let offset = number("kafka_dlt-original-offset")
        {
            let topic = String(decoding: topic, as: UTF8.self)
            original = .init(.init(topic: topic, partition: Int(partition)), offset)
        } else {
            original = nil
        }
    }
}
