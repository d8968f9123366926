internal import CRdKafka
internal import Synchronization

/// One of librdkafka's queues, kept alive together with its client.
final class RdKafkaQueue: Sendable {
    // The handle is declared, and so destroyed, before the client.
    private let handle: OwnedHandle
    let client: RdKafkaClient
    // Guards the retained listener between setting and removing it; never held while librdkafka is called.
    private let listener = Mutex<Unmanaged<Listener>?>(nil)

    private init(_ raw: OpaquePointer, client: RdKafkaClient) {
        self.handle = OwnedHandle(raw, destroy: rd_kafka_queue_destroy)
        self.client = client
    }

    var raw: OpaquePointer { handle.raw }

    /// Where a producer's delivery reports, errors and log lines arrive.
    static func main(of client: RdKafkaClient) -> RdKafkaQueue? {
        rd_kafka_queue_get_main(client.raw).map { RdKafkaQueue($0, client: client) }
    }

    /// Where a consumer's rebalances, commit results, errors and (forwarded) log lines arrive.
    static func consumer(of client: RdKafkaClient) -> RdKafkaQueue? {
        rd_kafka_queue_get_consumer(client.raw).map { RdKafkaQueue($0, client: client) }
    }

    /// One that nothing arrives in, to sleep in.
    static func empty(of client: RdKafkaClient) -> RdKafkaQueue? {
        rd_kafka_queue_new(client.raw).map { RdKafkaQueue($0, client: client) }
    }

    /// The fetched messages of one partition.
    ///
    /// The queue is forwarded nowhere *before* the partition is assigned, which makes librdkafka leave it so: no
    /// message ever reaches the merged queue.
    static func partition(_ partition: KafkaTopicPartition, of client: RdKafkaClient) -> RdKafkaQueue? {
        guard let number = Int32(exactly: partition.partition),
            let raw = rd_kafka_queue_get_partition(client.raw, partition.topic, number)
        else { return nil }
        rd_kafka_queue_forward(raw, nil)
        return RdKafkaQueue(raw, client: client)
    }

    /// The next event, waiting for it at most this long.
    ///
    /// - Parameter timeout: Milliseconds; 0 does not wait, -1 waits for ever.
    func poll(timeout: Int32) -> RdKafkaEvent? {
        rd_kafka_queue_poll(handle.raw, timeout).map { RdKafkaEvent($0) }
    }

    /// Makes a thread that waits in ``poll(timeout:)``, now or next, return without an event.
    func interrupt() {
        rd_kafka_queue_yield(handle.raw)
    }

    /// The next fetched message or error of a partition queue, without waiting.
    ///
    /// One at a time: in 2.0.2 a batch may drop messages that it already counted as consumed when a rebalance pauses
    /// the partition at that moment, and they would be skipped.
    static func consume(_ raw: OpaquePointer) -> RdKafkaMessage? {
        guard let message = rd_kafka_consume_queue(raw, 0) else { return nil }
        return RdKafkaMessage(message)
    }

    /// How many fetched messages, and whatever else librdkafka puts there, wait in it.
    var count: Int { rd_kafka_queue_length(handle.raw) }

    /// Calls `notify` whenever the queue stops being empty, on one of librdkafka's threads and with the queue locked:
    /// it must not call librdkafka.
    func setListener(_ notify: @escaping @Sendable () -> Void) {
        let context = Unmanaged.passRetained(Listener(notify: notify))
        listener.withLock { $0 = context }
        rd_kafka_queue_cb_event_enable(
            handle.raw,
            { _, context in
                guard let context else { return }
                Unmanaged<Listener>.fromOpaque(context).takeUnretainedValue().notify()
            },
            context.toOpaque()
        )
    }

    /// After this returns the listener is not called any more: librdkafka calls it with the queue locked.
    func removeListener() {
        // Not where there is none: the listener belongs to librdkafka's queue, which the next generation of the same
        // partition shares, and not to this handle.
        guard let context = listener.withLock({ $0.take() }) else { return }
        rd_kafka_queue_cb_event_enable(handle.raw, nil, nil)
        context.release()
    }

    deinit {
        removeListener()
    }

    private final class Listener: Sendable {
        let notify: @Sendable () -> Void

        init(notify: @escaping @Sendable () -> Void) {
            self.notify = notify
        }
    }
}
