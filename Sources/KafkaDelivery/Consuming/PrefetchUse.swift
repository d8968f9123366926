/// How much of what was prefetched has been read, to know when the fetcher should be woken: it stops at a full queue and looks
/// again only when something wakes it. A value without threads; the reader keeps it under its lock.
struct PrefetchUse {
    /// Read since the broker threads were woken last.
    private var messages = 0
    private var bytes = 0

    mutating func read(bytes count: Int) {
        messages += 1
        bytes += count
    }

    /// Whether to wake the fetcher: when half of what it may prefetch was read since the last time, and when all was read and
    /// there is more.
    ///
    /// - Parameter isAllRead: Whether nothing more is in the queue, and the partition goes on.
    mutating func takeRefill(
        of prefetch: KafkaConsumer.Configuration.Prefetch,
        isAllRead: @autoclosure () -> Bool
    ) -> Bool {
        guard messages > 0 else { return false }
        let isHalfRead = messages * 2 >= prefetch.maximumMessages || bytes * 2 >= prefetch.maximumBytes
        guard isHalfRead || isAllRead() else { return false }
        messages = 0
        bytes = 0
        return true
    }
}
