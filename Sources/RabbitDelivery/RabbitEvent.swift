/// Something that happened to a publisher or a consumer, and that a service may want to know.
public enum RabbitEvent: Sendable {
    /// A channel is open, and the topology declared; on which host, and in which generation, counted from 1 in the client's life.
    case connected(host: String, generation: Int)
    /// The connection ended, and another one is made.
    case disconnected(RabbitError)
    /// No host could be connected to; that is tried again after a while.
    case connectionFailed(RabbitError, retryAfter: Duration)
    /// The broker closed the channel, and another one is opened on the connection.
    case channelClosed(RabbitError)
    /// The broker takes nothing from this connection (`connection.blocked`): it lacks memory or disk space. Said only to
    /// connections that publish. Also where it has stopped the channel (`channel.flow`), which RabbitMQ does not. Senders wait.
    case blocked(reason: String)
    /// The broker takes messages again.
    case unblocked
    /// The client cannot go on: its login was refused, or the topology differs; also where that happens when it connects again. It is
    /// not tried again.
    case failed(RabbitError)
    /// Handling a message failed, and it is handed over again after a while.
    case redelivery(queue: String, attempt: Int, after: Duration)
    /// A message was given up; its dead letter is confirmed.
    case deadLettered(queue: String, exchange: String, routingKey: String)
    /// A message was given up, its dead letter could not be published, and that is tried again.
    case deadLetterFailed(RabbitError)
    /// A message was given up, and its dead letter can never be stored. Said once for each message in a generation.
    case deadLetterRefused(RabbitError)
    /// A message was given up, and rejected for the broker to store it elsewhere.
    case rejected(queue: String)
    /// Handling a message failed, and it waits in another queue for its next attempt.
    case retried(queue: String, attempt: Int, after: Duration)
    /// A delivery was acknowledged after it had been negatively acknowledged, or the other way round. The first verdict counts.
    case contradictingVerdict(queue: String)
}

/// The events of one client, from when the sequence was asked for. One that is not read keeps the latest 256.
public struct RabbitEvents: AsyncSequence, Sendable {
    let stream: AsyncStream<RabbitEvent>

    /// Goes through the events.
    public struct AsyncIterator: AsyncIteratorProtocol {
        var iterator: AsyncStream<RabbitEvent>.AsyncIterator

        /// The next one; nil when there will be none, or the task is cancelled.
        public mutating func next() async -> RabbitEvent? {
            await iterator.next(isolation: nil)
        }

        /// The next one; nil when there will be none, or the task is cancelled.
        public mutating func next(isolation actor: isolated (any Actor)?) async -> RabbitEvent? {
            await iterator.next(isolation: actor)
        }
    }

    /// Goes through the events.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(iterator: stream.makeAsyncIterator())
    }
}
