/// That the broker has confirmed a message: every durable queue that it was routed to has it on disk, or on a majority of its
/// nodes, as the queue is. AMQP does not say which queues those are.
public struct RabbitConfirmation: Sendable, Hashable {
    /// On which channel of the publisher's life, counted from 1; each connection is a new one.
    public let generation: Int
    /// Its number among those published on that channel, counted from 1 (`delivery-tag` of `basic.ack`).
    public let sequenceNumber: UInt64

    /// A confirmation, for a test's own destination.
    public init(generation: Int, sequenceNumber: UInt64) {
        self.generation = generation
        self.sequenceNumber = sequenceNumber
    }
}
