internal import CRdKafka
internal import Synchronization

/// Sending, at the boundary to librdkafka.
extension RdKafkaClient {
    /// Hands a message to librdkafka, which copies it.
    ///
    /// - Parameters:
    ///   - topic: The message's.
    ///   - opaque: Comes back with the delivery report.
    /// - Returns: Success where it was taken: then there will be exactly one report.
    func produce(
        _ message: KafkaMessage,
        to topic: RdKafkaTopic,
        opaque: UnsafeMutableRawPointer
    ) -> RdKafkaCode {
        guard !message.headers.isEmpty else { return produce(message, headers: nil, to: topic, opaque) }
        guard let headers = RdKafkaHeaders(count: message.headers.count) else { return .noMemory }
        for header in message.headers {
            let code = headers.add(header)
            if code != .success { return code }
        }
        let code = produce(message, headers: headers.raw, to: topic, opaque)
        // Only on success do the headers belong to librdkafka.
        if code == .success { _ = headers.release() }
        return code
    }

    @inline(__always)
    private func produce(
        _ message: KafkaMessage,
        headers: OpaquePointer?,
        to topic: RdKafkaTopic,
        _ opaque: UnsafeMutableRawPointer
    ) -> RdKafkaCode {
        let partition = message.partition.map { Int32(truncatingIfNeeded: $0) } ?? RD_KAFKA_PARTITION_UA
        let timestamp = message.timestamp?.millisecondsSince1970 ?? 0
        return message.key.withOptionalBytes { key, keyCount in
            message.value.withOptionalBytes { value, valueCount in
                // A function of its own, because what lends the bytes is inlined for each way they may be kept.
                RdKafkaCode(produce(key, keyCount, value, valueCount, topic, partition, headers, timestamp, opaque))
            }
        }
    }

    @inline(never)
    private func produce(
        _ key: UnsafeRawPointer?,
        _ keyCount: Int,
        _ value: UnsafeRawPointer?,
        _ valueCount: Int,
        _ topic: RdKafkaTopic,
        _ partition: Int32,
        _ headers: OpaquePointer?,
        _ timestamp: Int64,
        _ opaque: UnsafeMutableRawPointer
    ) -> rd_kafka_resp_err_t {
        kafka_delivery_produce(
            raw,
            topic.raw,
            partition,
            key,
            keyCount,
            value,
            valueCount,
            headers,
            timestamp,
            opaque
        )
    }

    /// The handle of a topic, made on first use and kept until the client is destroyed.
    func topic(_ name: String) -> RdKafkaTopic? {
        topics.topic(name) { rd_kafka_topic_new(raw, name, nil) }
    }

    /// Gives up what is queued and in flight; the reports of it follow (`rd_kafka_purge`). Does not wait.
    func purge() {
        _ = rd_kafka_purge(
            raw,
            Int32(RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING)
        )
    }

    /// Sends what lingers, and waits for it. Blocks.
    ///
    /// - Returns: Whether nothing is left.
    func flush(within timeout: Duration) -> Bool {
        rd_kafka_flush(raw, timeout.milliseconds) == RD_KAFKA_RESP_ERR_NO_ERROR
    }
}

/// A message's headers while they are made (`rd_kafka_headers_t`).
private struct RdKafkaHeaders: ~Copyable {
    private let handle: OwnedHandle

    init?(count: Int) {
        guard let raw = rd_kafka_headers_new(count) else { return nil }
        handle = OwnedHandle(raw, destroy: rd_kafka_headers_destroy)
    }

    var raw: OpaquePointer { handle.raw }

    func add(_ header: KafkaHeader) -> RdKafkaCode {
        var name = header.name
        return name.withUTF8 { name in
            header.value.withOptionalBytes { value, count in
                name.withMemoryRebound(to: CChar.self) { name in
                    RdKafkaCode(rd_kafka_header_add(handle.raw, name.baseAddress, name.count, value, count))
                }
            }
        }
    }

    /// They are librdkafka's now.
    consuming func release() -> OpaquePointer { handle.release() }
}

extension RdKafkaCode {
    fileprivate static let noMemory = RdKafkaCode(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE)
}

/// The topics of a client. Their names may be looked at also when the client, and with it the handles, is gone.
final class RdKafkaTopics: Sendable {
    // Held while librdkafka makes a handle, so that there is one for each name.
    private let topics = Mutex<[String: RdKafkaTopic]>([:])

    var all: [RdKafkaTopic] { topics.withLock { Array($0.values) } }

    fileprivate func topic(_ name: String, _ make: () -> OpaquePointer?) -> RdKafkaTopic? {
        topics.withLock { topics in
            if let topic = topics[name] { return topic }
            guard let raw = make() else { return nil }
            let topic = RdKafkaTopic(name: name, raw: raw)
            topics[name] = topic
            return topic
        }
    }
}

/// A topic's handle, which lives as long as its client.
final class RdKafkaTopic: @unchecked Sendable {
    // Sendable because an rd_kafka_topic_t may be used from any thread: librdkafka locks it. The client destroys it, once, when nothing
    // else holds the client.
    let name: String
    let raw: OpaquePointer

    init(name: String, raw: OpaquePointer) {
        self.name = name
        self.raw = raw
    }
}

extension KafkaBytes? {
    /// Lends the bytes to C: null where there is no value, not null where it is empty.
    @inline(__always)
    fileprivate func withOptionalBytes<Result>(_ body: (UnsafeRawPointer?, Int) -> Result) -> Result {
        switch self {
        case nil: body(nil, 0)
        case let bytes?: bytes.withUnsafeBytes { body($0.baseAddress, $0.count) }
        }
    }
}
