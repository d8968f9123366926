/// Messages of a partition that were negatively acknowledged, until they are handed out again. A value without threads; the
/// reader keeps it under its lock.
struct RejectedMessages<Message> {
    typealias Instant = ContinuousClock.Instant

    /// What is to be handed out next.
    enum Next {
        case message(Message)
        /// Nothing of the partition, until the first one's time has come.
        case wait
        /// None of these.
        case none
    }

    private struct Entry {
        let message: Message
        let sequence: OffsetTracker.Sequence
        let due: Instant
        /// Whether nothing else of the partition is handed out before it.
        let holdsPartition: Bool
    }

    // In the order of the partition.
    private var entries: [Entry] = []

    var isEmpty: Bool { entries.isEmpty }

    /// Keeps a message until its time has come.
    ///
    /// - Parameter holdsPartition: Whether nothing that comes after it is handed out before it.
    mutating func keep(_ message: Message, _ sequence: OffsetTracker.Sequence, due: Instant, holdsPartition: Bool) {
        let index = entries.firstIndex { $0.sequence > sequence } ?? entries.endIndex
        let entry = Entry(message: message, sequence: sequence, due: due, holdsPartition: holdsPartition)
        entries.insert(entry, at: index)
    }

    /// Takes the first message whose time has come.
    mutating func next(at now: Instant) -> Next {
        for (index, entry) in entries.enumerated() {
            if entry.due <= now {
                entries.remove(at: index)
                return .message(entry.message)
            }
            // What failed after one that holds the partition comes after it, though its own time may have come: they fail
            // together in a batch, and wait the longer the more often they have failed.
            if entry.holdsPartition { return .wait }
        }
        return .none
    }

    /// Forgets all of them.
    ///
    /// - Returns: What they were, to be let go of outside of the reader's lock: each owns a C object.
    mutating func removeAll() -> [Message] {
        defer { entries = [] }
        return entries.map(\.message)
    }
}
