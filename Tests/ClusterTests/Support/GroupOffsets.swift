import CRdKafka
import Foundation
import KafkaDelivery

/// Asks the brokers what a group has committed, with a client of librdkafka's own that joins nothing.
struct GroupOffsets {
    private let bootstrapServers: [String]
    private let group: String

    init(_ cluster: TestCluster, _ group: String) {
        self.bootstrapServers = cluster.bootstrapServers
        self.group = group
    }

    /// The committed offset of a partition: that of the message to be read next. Nil where there is none.
    func committed(_ topic: String, _ partition: Int = 0) async throws -> Int64? {
        try await committed(topic, partitions: partition...partition)[partition]
    }

    /// The committed offsets of several partitions. Those that have none are not in it.
    func committed(_ topic: String, partitions: ClosedRange<Int>) async throws -> [Int: Int64] {
        try await entries(topic, partitions).mapValues(\.offset)
    }

    /// The texts beside the committed offsets. Those that have none are not in it.
    func metadata(_ topic: String, partitions: ClosedRange<Int>) async throws -> [Int: String] {
        try await entries(topic, partitions).mapValues(\.metadata).filter { !$0.value.isEmpty }
    }

    /// Commits an offset, with a text beside it, as a client that is in no group may while the group has no members.
    func commit(_ topic: String, _ offset: Int64, metadata: String) async throws {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(with: Result { try store(topic, offset, metadata) })
            }
        }
    }

    private func store(_ topic: String, _ offset: Int64, _ metadata: String) throws {
        let client = try RawClient(
            RD_KAFKA_CONSUMER,
            ["bootstrap.servers": bootstrapServers.joined(separator: ","), "group.id": group]
        )
        guard let list = rd_kafka_topic_partition_list_new(1), let copy = strdup(metadata) else {
            throw TestFailure("there is no memory for a list")
        }
        defer { rd_kafka_topic_partition_list_destroy(list) }
        rd_kafka_topic_partition_list_add(list, topic, 0)
        list.pointee.elems[0].offset = offset
        // Freed together with the list.
        list.pointee.elems[0].metadata = UnsafeMutableRawPointer(copy)
        list.pointee.elems[0].metadata_size = strlen(copy)
        let code = rd_kafka_commit(client.raw, list, 0)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            throw TestFailure("the offset cannot be committed: \(String(cString: rd_kafka_err2str(code)))")
        }
    }

    private struct Entry {
        let offset: Int64
        let metadata: String
    }

    private func entries(_ topic: String, _ partitions: ClosedRange<Int>) async throws -> [Int: Entry] {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(with: Result { try ask(topic, partitions) })
            }
        }
    }

    private func ask(_ topic: String, _ partitions: ClosedRange<Int>) throws -> [Int: Entry] {
        let client = try RawClient(
            RD_KAFKA_CONSUMER,
            ["bootstrap.servers": bootstrapServers.joined(separator: ","), "group.id": group]
        )
        guard let list = rd_kafka_topic_partition_list_new(Int32(partitions.count)) else {
            throw TestFailure("librdkafka has no memory for a list")
        }
        defer { rd_kafka_topic_partition_list_destroy(list) }
        for partition in partitions { rd_kafka_topic_partition_list_add(list, topic, Int32(partition)) }
        // Now and then 2.0.2 does not hear of the coordinator's answer, and waits for the whole time.
        var code = RD_KAFKA_RESP_ERR__TIMED_OUT
        for _ in 0..<10 where code == RD_KAFKA_RESP_ERR__TIMED_OUT {
            code = rd_kafka_committed(client.raw, list, 3_000)
        }
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            throw TestFailure("the group's offsets cannot be read: \(String(cString: rd_kafka_err2str(code)))")
        }
        let entries = (0..<Int(list.pointee.cnt)).map { list.pointee.elems[$0] }
        return Dictionary(
            uniqueKeysWithValues: entries.filter { $0.offset >= 0 }.map { entry in
                let text = entry.metadata.map { UnsafeRawBufferPointer(start: $0, count: entry.metadata_size) }
                let metadata = text.map { String(decoding: $0, as: UTF8.self) } ?? ""
                return (Int(entry.partition), Entry(offset: entry.offset, metadata: metadata))
            }
        )
    }
}

/// A client that is nobody's but librdkafka's.
final class RawClient {
    let raw: OpaquePointer

    init(_ type: rd_kafka_type_t, _ properties: [String: String]) throws {
        var reason = [CChar](repeating: 0, count: 512)
        let configuration = rd_kafka_conf_new()
        for (name, value) in properties {
            guard rd_kafka_conf_set(configuration, name, value, &reason, reason.count) == RD_KAFKA_CONF_OK else {
                rd_kafka_conf_destroy(configuration)
                throw TestFailure("librdkafka refuses \(name)=\(value)")
            }
        }
        rd_kafka_conf_set_log_cb(configuration, nil)
        guard let raw = rd_kafka_new(type, configuration, &reason, reason.count) else {
            rd_kafka_conf_destroy(configuration)
            throw TestFailure("librdkafka makes no client")
        }
        self.raw = raw
    }

    deinit {
        rd_kafka_destroy(raw)
    }
}
