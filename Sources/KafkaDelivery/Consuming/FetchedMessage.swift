/// A message that was read from librdkafka's queue and not handed out yet.
final class FetchedMessage: @unchecked Sendable {
    // Sendable because only `PartitionReader.State.pending` has one: tasks read and release it under the lock of that state, and the
    // consumer's thread takes it out under the same lock before it lets go of it. Nil once it was given up to a new owner.
    private var message: RdKafkaMessage?
    // Keeps the client alive for as long as it has a message out.
    private let client: RdKafkaClient
    let offset: Int64

    init(_ message: consuming RdKafkaMessage, client: RdKafkaClient) {
        self.offset = message.view.offset
        self.message = consume message
        self.client = client
    }

    /// Gives the message up to a new owner, once.
    func release() -> RdKafkaMessage? {
        message.take()
    }
}
