/// Where a consumer's offsets are stored with what its messages did: the other half of an outbox.
///
/// The offset after a message, its idempotency key and its effect are committed by one transaction of the application's
/// database. So each message has its effect once, whatever is killed, redelivered or rebalanced: what comes again finds an offset
/// that is past it, and a message that was *sent* twice finds its key.
///
/// A member of the group that has lost a partition and does not know it is fenced by the same row: the transaction in which it
/// moves the offset waits for the new owner's, and then finds the offset moved.
public protocol InboxStore: Sendable {
    /// Whose offsets these are: the group's name, usually.
    var consumer: String { get }

    /// The offset of the next message of a partition; nil where none was stored.
    func nextOffset(of place: InboxPlace) async throws(OutboxError) -> Int64?
}

/// An inbox whose transactions are closures that do not suspend, as GRDB's are.
public protocol Inbox: InboxStore {
    /// What effects are made with.
    associatedtype Transaction

    /// Runs `effect` in a transaction that also stores the messages' offset and keys, unless there is nothing new among them.
    ///
    /// - Parameters:
    ///   - messages: Of one partition, in order.
    ///   - effect: Gets the transaction, and the indices of the messages that are new. Throwing rolls everything back.
    /// - Returns: The indices of the messages that were new.
    /// - Throws: What `effect` throws; ``OutboxError`` where the database failed: with the recovery `retry` the same call may succeed
    ///   later, and has no second effect.
    @discardableResult
    func receive(
        _ messages: [InboxMessage],
        _ effect: @escaping @Sendable (Transaction, [Int]) throws -> Void
    ) async throws -> [Int]
}

/// An inbox whose transactions suspend, as those over a network do.
public protocol AsyncInbox: InboxStore {
    /// What effects are made with.
    associatedtype Transaction: Sendable

    /// Runs `effect` in a transaction that also stores the messages' offset and keys; see ``Inbox/receive(_:_:)``.
    @discardableResult
    func receive(
        _ messages: [InboxMessage],
        _ effect: @escaping @Sendable (Transaction, [Int]) async throws -> Void
    ) async throws -> [Int]
}

extension InboxStore {
    /// Checks what `receive` is given.
    ///
    /// - Returns: The partition.
    /// - Throws: ``OutboxError`` of the kind `invalidMessage`.
    package func place(of messages: [InboxMessage]) throws(OutboxError) -> InboxPlace? {
        guard let first = messages.first else { return nil }
        var last: Int64 = -1
        for message in messages {
            guard message.place == first.place else {
                throw .invalidMessage("receive messages of one partition at a time")
            }
            guard message.offset > last, message.offset < .max else {
                throw .invalidMessage("receive messages in the order of their offsets, which begin at 0")
            }
            last = message.offset
        }
        return first.place
    }
}

extension OutboxError {
    /// The error of a transaction whose effect would be stored without its offset: the partition's row was deleted meanwhile, or a
    /// trigger keeps it as it is. The same call makes the row anew.
    package static func offsetNotMoved(of place: InboxPlace) -> OutboxError {
        OutboxError(
            kind: .fenced,
            persistence: .notPersisted,
            recovery: .retry,
            reason: "the inbox's offset of \(place.topic) [\(place.partition)] was not moved: its row is gone, "
                + "or a trigger holds it"
        )
    }
}
