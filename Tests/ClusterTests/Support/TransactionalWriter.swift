import CRdKafka
import Foundation

/// Writes transactions with a client of librdkafka's own, so that a partition has offsets nobody is given.
enum TransactionalWriter {
    /// What a reader of committed messages sees of what ``write(to:_:)`` writes: offset 2 is the first transaction's
    /// control record, 3 and 4 were aborted, 5 is their control record, and 8 the last one's.
    static let visibleOffsets: [Int64] = [0, 1, 6, 7]

    static func write(to topic: String, _ bootstrapServers: [String]) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread {
                continuation.resume(with: Result { try writeBlocking(to: topic, bootstrapServers) })
            }
        }
    }

    private static func writeBlocking(to topic: String, _ bootstrapServers: [String]) throws {
        let client = try RawClient(
            RD_KAFKA_PRODUCER,
            ["bootstrap.servers": bootstrapServers.joined(separator: ","), "transactional.id": "writer-\(topic)"]
        )
        try check(rd_kafka_init_transactions(client.raw, 30_000))
        guard let handle = rd_kafka_topic_new(client.raw, topic, nil) else { throw TestFailure("no topic \(topic)") }
        defer { rd_kafka_topic_destroy(handle) }
        for isCommitted in [true, false, true] {
            try check(rd_kafka_begin_transaction(client.raw))
            for _ in 0..<2 {
                var value = Array("x".utf8)
                let status = rd_kafka_produce(handle, 0, RD_KAFKA_MSG_F_COPY, &value, value.count, nil, 0, nil)
                guard status == 0 else { throw TestFailure("nothing can be written") }
            }
            // So that what is aborted was stored before.
            rd_kafka_flush(client.raw, 30_000)
            try check(
                isCommitted
                    ? rd_kafka_commit_transaction(client.raw, 30_000) : rd_kafka_abort_transaction(client.raw, 30_000)
            )
        }
    }

    private static func check(_ error: OpaquePointer?) throws {
        guard let error else { return }
        defer { rd_kafka_error_destroy(error) }
        throw TestFailure("a transaction failed: \(String(cString: rd_kafka_error_string(error)))")
    }
}
