internal import Synchronization

/// Where the producer's thread sleeps: until librdkafka has an event, or for a moment; and what wakes it.
final class ProducerSleep: Sendable {
    private struct Queues {
        let events: RdKafkaQueue
        /// Nothing ever arrives here.
        let rest: RdKafkaQueue
    }

    // Whoever interrupts meets the end of the thread here. Librdkafka is not called under it.
    private let queues: Mutex<Queues?>
    // The same queues, for who reads reports: that is over before they are let go of.
    private let events: Unmanaged<RdKafkaQueue>
    private let rest: Unmanaged<RdKafkaQueue>

    init?(_ client: RdKafkaClient) {
        guard let events = RdKafkaQueue.main(of: client), let rest = RdKafkaQueue.empty(of: client) else { return nil }
        self.events = .passUnretained(events)
        self.rest = .passUnretained(rest)
        self.queues = Mutex(Queues(events: events, rest: rest))
    }

    /// librdkafka's next event, waiting for it at most this long. For the producer's thread, and for who holds the lock under
    /// which reports are read and has found that they still are.
    ///
    /// - Parameter timeout: Milliseconds; 0 does not wait, -1 waits for ever.
    func nextEvent(timeout: Int32) -> RdKafkaEvent? {
        events.takeUnretainedValue().poll(timeout: timeout)
    }

    /// Sleeps for a millisecond, whatever librdkafka has. For the producer's thread.
    func pause() {
        _ = rest.takeUnretainedValue().poll(timeout: 1)
    }

    /// Ends a sleep, now or the next one.
    func interrupt() {
        guard let queues = queues.withLock({ $0 }) else { return }
        // That of a rest first, where it is: from there the thread goes on to the other.
        queues.rest.interrupt()
        queues.events.interrupt()
    }

    /// Nobody sleeps here any more: lets go of the queues.
    func end() {
        let queues = queues.withLock { $0.take() }
        _ = consume queues
    }
}
