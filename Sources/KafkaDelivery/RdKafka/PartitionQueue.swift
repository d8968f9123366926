/// The fetched messages of one partition, until its generation ends. A queue keeps its client, and the application may keep what
/// keeps the reader, a partition or the iterator of a loop: after the end of the generation neither keeps the client.
///
/// Guarded by the lock of the reader's state. The consumer's thread, which is the only one to close it, may look without.
final class PartitionQueue: Sendable {
    nonisolated(unsafe) private var open: RdKafkaQueue?
    // The handle of `open`: reading a message retains and releases nothing but what it hands out.
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
