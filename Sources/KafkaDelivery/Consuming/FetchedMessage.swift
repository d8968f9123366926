internal import CRdKafka

/// A message that was read from librdkafka's queue and not handed out yet.
final class FetchedMessage: @unchecked Sendable {
    // Sendable because a fetched message does not change. Nil once somebody else owns it, who has the only reference then.
    private var raw: UnsafeMutablePointer<rd_kafka_message_t>?
    // Keeps the client alive for as long as it has a message out.
    private let client: RdKafkaClient
    let offset: Int64

    init(_ raw: UnsafeMutablePointer<rd_kafka_message_t>, client: RdKafkaClient) {
        self.raw = raw
        self.client = client
        self.offset = raw.pointee.offset
    }

    deinit {
        if let raw { rd_kafka_message_destroy(raw) }
    }

    /// Gives the message up to a new owner, once.
    func release() -> UnsafeMutablePointer<rd_kafka_message_t>? {
        defer { raw = nil }
        return raw
    }
}
