/// What became of an event at its destination: exactly one for each event and attempt.
public enum OutboxOutcome: Sendable, Hashable {
    /// The destination confirmed that it has it. The row is deleted.
    case accepted(OutboxReceipt)

    /// The destination gave a verdict on the message itself: refused. Where it is retriable the event is tried again
    /// (``OutboxRetry``), and counted; otherwise, and after the last attempt, it is parked.
    case rejected(reason: String, isRetriable: Bool, retryAfter: Duration? = nil)

    /// There is no such place, or no right to it: the topic, the queue or the path does not exist. Tried again for
    /// ``OutboxRetry/unroutablePatience``: what is missing may be made some minutes later.
    case unroutable(reason: String)

    /// The message was on its way, and no answer says what became of it. It is sent again from this event on, with the
    /// same idempotency key, for as long as it takes; never parked for that.
    case unknown(reason: String)

    /// The message was not sent, and nothing is wrong with it: the destination as a whole is away or overloaded, or the event
    /// waits for one before it with the same key. It is sent again for as long as it takes; nothing is counted.
    case unavailable(reason: String, retryAfter: Duration? = nil)

    /// Whether the destination has it.
    public var isAccepted: Bool {
        if case .accepted = self { true } else { false }
    }

    /// What happened, for a person; nil where it was accepted.
    public var reason: String? {
        switch self {
        case .accepted: nil
        case .rejected(let reason, _, _), .unroutable(let reason), .unknown(let reason), .unavailable(let reason, _):
            reason
        }
    }
}

/// Where a destination stored an event, as far as it says.
public struct OutboxReceipt: Sendable, Hashable, CustomStringConvertible {
    /// The topic, the queue or the address.
    public let place: String

    /// The partition, where there are such.
    public let partition: Int?

    /// The offset, the delivery tag or the status of the answer.
    public let position: Int64?

    /// A receipt.
    public init(place: String, partition: Int? = nil, position: Int64? = nil) {
        self.place = place
        self.partition = partition
        self.position = position
    }

    /// For instance `orders[3]@42`.
    public var description: String {
        place + (partition.map { "[\($0)]" } ?? "") + (position.map { "@\($0)" } ?? "")
    }
}
