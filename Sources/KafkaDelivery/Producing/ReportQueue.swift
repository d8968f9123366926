internal import Synchronization

/// librdkafka's queue of delivery reports, errors and log lines, in which the producer's thread sleeps; and what wakes that.
final class ReportQueue: Sendable {
    // Tasks that interrupt the thread meet its end here. Librdkafka is not called under it.
    private let queue: Mutex<RdKafkaQueue?>
    // The same queue, for the producer's thread, which lets go of it itself.
    private let ofThread: Unmanaged<RdKafkaQueue>

    init?(_ client: RdKafkaClient) {
        guard let queue = RdKafkaQueue.main(of: client) else { return nil }
        self.ofThread = .passUnretained(queue)
        self.queue = Mutex(queue)
    }

    /// librdkafka's next event, waiting for it at most this long. For the producer's thread.
    ///
    /// - Parameter timeout: Milliseconds; 0 does not wait, -1 waits for ever.
    func nextEvent(timeout: Int32) -> RdKafkaEvent? {
        ofThread.takeUnretainedValue().poll(timeout: timeout)
    }

    /// Ends the thread's sleep, now or the next one.
    func interrupt() {
        queue.withLock { $0 }?.interrupt()
    }

    /// The thread sleeps here no more: lets go of the queue.
    func end() {
        let queue = queue.withLock { $0.take() }
        _ = consume queue
    }
}
