/// Where a consumed message is: what its offset counts in.
public struct InboxPlace: Sendable, Hashable {
    /// The topic.
    public var topic: String
    /// The partition's number.
    public var partition: Int

    /// A topic's partition.
    public init(topic: String, partition: Int) {
        self.topic = topic
        self.partition = partition
    }
}

/// What an inbox knows of a consumed message.
public struct InboxMessage: Sendable, Hashable {
    /// The topic's partition.
    public var place: InboxPlace
    /// The offset in it.
    public var offset: Int64
    /// What its sender stamped, the same however often it was sent; nil where it did not.
    public var idempotencyKey: [UInt8]?

    /// A consumed message.
    public init(place: InboxPlace, offset: Int64, idempotencyKey: [UInt8]?) {
        self.place = place
        self.offset = offset
        self.idempotencyKey = idempotencyKey
    }
}
