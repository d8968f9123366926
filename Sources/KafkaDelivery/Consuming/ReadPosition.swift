/// How far a partition was read. A value without threads; the reader keeps it under its lock.
struct ReadPosition {
    /// The offset from which the next message is read; nil until that is known.
    private(set) var next: Int64?
    /// Whether nothing was read since librdkafka said that the partition is at its end.
    private(set) var isAtEnd = false

    /// Whether librdkafka has fetched anything since it was told of the partition: a message, the end, or what cannot be read.
    private(set) var wasFetched = false

    /// Whether the end was met and not told, because a seek had begun.
    private var isEndUntold = false

    /// Something was fetched that is no message and moves nothing.
    mutating func fetched() {
        wasFetched = true
    }

    mutating func read(_ offset: Int64) {
        wasFetched = true
        next = OffsetTracker.nextToRead(after: offset)
        isAtEnd = false
        isEndUntold = false
    }

    mutating func reachedEnd(at offset: Int64) {
        wasFetched = true
        next = offset
        isAtEnd = true
    }

    /// The end was met before a seek: whether it is one is to be told where the seek fails.
    mutating func reachedEndBeforeSeek(at offset: Int64) {
        wasFetched = true
        next = offset
        isEndUntold = true
    }

    /// Whether an end is to be told now.
    mutating func takeUntoldEnd() -> Bool {
        guard isEndUntold else { return false }
        isEndUntold = false
        isAtEnd = true
        return true
    }

    mutating func move(to offset: Int64) {
        wasFetched = true
        next = offset
        isEndUntold = false
    }
}
