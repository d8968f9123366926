/// Where the producer's thread sleeps: until librdkafka has an event, or for a moment; and what wakes it.
final class ProducerSleep: Sendable {
    private let events: RdKafkaQueue
    /// Nothing ever arrives here.
    private let rest: RdKafkaQueue

    init?(_ client: RdKafkaClient) {
        guard let events = RdKafkaQueue.main(of: client), let rest = RdKafkaQueue.empty(of: client) else { return nil }
        self.events = events
        self.rest = rest
    }

    /// librdkafka's next event, waiting for it at most this long.
    ///
    /// - Parameter timeout: Milliseconds; 0 does not wait, -1 waits for ever.
    func nextEvent(timeout: Int32) -> RdKafkaEvent? {
        events.poll(timeout: timeout)
    }

    /// Sleeps for a millisecond, whatever librdkafka has.
    func pause() {
        _ = rest.poll(timeout: 1)
    }

    /// Ends a sleep, now or the next one.
    func interrupt() {
        // That of a rest first, where it is: from there the thread goes on to the other.
        rest.interrupt()
        events.interrupt()
    }
}
