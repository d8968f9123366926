/// How far a partition was read. A value without threads; the reader keeps it under its lock.
struct ReadPosition {
    /// The offset from which the next message is read; nil until that is known.
    private(set) var next: Int64?
    /// Whether nothing was read since librdkafka said that the partition is at its end.
    private(set) var isAtEnd = false

    mutating func read(_ offset: Int64) {
        next = OffsetTracker.nextToRead(after: offset)
        isAtEnd = false
    }

    mutating func reachedEnd(at offset: Int64) {
        next = offset
        isAtEnd = true
    }

    mutating func move(to offset: Int64) {
        next = offset
    }
}
