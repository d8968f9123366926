/// The fetched messages of one partition, until its generation ends. A queue keeps its client, and the application may keep what
/// keeps the reader, a partition or the iterator of a loop: after the end of the generation neither keeps the client.
///
/// Tasks read it under the lock of the reader's state; the consumer's thread closes it under the same lock.
final class PartitionQueue: Sendable {
    // Unsafe, and no lock of its own, because the reader's lock is held around every use already. The consumer's thread alone writes,
    // in `close`, so it may read without: that is when it sets and removes the listener.
    nonisolated(unsafe) private var open: RdKafkaQueue?
    // The handle of `open`, so that reading a message retains and releases nothing but what it hands out. Guarded in the same way.
    nonisolated(unsafe) private var raw: OpaquePointer?

    init(_ queue: RdKafkaQueue) {
        self.open = queue
        self.raw = queue.raw
    }

    /// What a message that was read has to keep; nil once it is closed.
    var client: RdKafkaClient? { open?.client }

    /// The next fetched message or error, without waiting. See ``RdKafkaQueue/consume(_:)``.
    func consume() -> RdKafkaMessage? {
        guard let raw else { return nil }
        return RdKafkaQueue.consume(raw)
    }

    /// How many fetched messages, and whatever else librdkafka puts there, wait in it.
    var count: Int { open?.count ?? 0 }

    /// See ``RdKafkaQueue/setListener(_:)``. On the consumer's thread.
    func setListener(_ notify: @escaping @Sendable () -> Void) {
        open?.setListener(notify)
    }

    /// See ``RdKafkaQueue/removeListener()``. On the consumer's thread.
    func removeListener() {
        open?.removeListener()
    }

    /// Nothing more comes out of it.
    ///
    /// - Returns: What is to be let go of outside of the lock.
    func close() -> RdKafkaQueue? {
        raw = nil
        return open.take()
    }
}
