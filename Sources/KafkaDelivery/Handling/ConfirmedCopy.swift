internal import Logging

/// Publishes what becomes of a delivery elsewhere, as a dead letter or for a later attempt, and does not give up: the
/// original is settled only when its copy is confirmed.
struct ConfirmedCopy: Sendable {
    let producer: KafkaProducer
    private static let backoff = KafkaRetryPolicy.exponential(
        initial: .milliseconds(200),
        maximum: .seconds(10),
        maximumAttempts: nil
    )

    init(producer: KafkaProducer) {
        self.producer = producer
    }

    /// Sends a message and waits until the broker has confirmed it. A failing send is tried again, for as long as the
    /// delivery's partition is ours and the task is not cancelled: nothing is skipped.
    ///
    /// - Parameters:
    ///   - message: What to send; to another partition than its own where the topic does not have that one.
    ///   - dispensable: A header that is left out where the message is too large with it.
    ///   - delivery: What it is a copy of.
    ///   - onFailure: Told of each send that failed.
    /// - Returns: Where it is stored; nil where the partition was revoked meanwhile, and nothing more is published.
    func send(
        _ message: KafkaMessage,
        dispensable: String,
        for delivery: KafkaConsumer.Delivery,
        logger: Logger,
        onFailure: (KafkaError) -> Void
    ) async throws(CancellationError) -> KafkaDeliveryReport? {
        var copy = message
        var attempt = 0
        while delivery.message.isCurrent {
            do throws(KafkaError) {
                return try await producer.send(copy)
            } catch {
                if Task.isCancelled { throw CancellationError() }
                if error.kind == .unknownTopicOrPartition, copy.partition != nil {
                    // The topic has fewer partitions.
                    copy.partition = nil
                    continue
                }
                if error.kind == .messageTooLarge, copy.headers.contains(where: { $0.name == dispensable }) {
                    // The original fitted into its topic, and what was added may be too much: the message matters more
                    // than the error's text.
                    copy.headers.removeAll { $0.name == dispensable }
                    continue
                }
                onFailure(error)
                logger.warning(
                    "Copy of a message not published, tried again",
                    metadata: [
                        "kafka_delivery": "\(delivery)", "kafka_topic": "\(copy.topic)", "kafka_error": "\(error)",
                    ]
                )
                // It may have been the topic that was missing, and not the partition.
                copy.partition = message.partition
                attempt += 1
                // Time is what is waited for here: a broker that refuses gives no sign when it will not any more.
                guard (try? await Task.sleep(for: Self.backoff.delay(after: attempt))) != nil else {
                    throw CancellationError()
                }
            }
        }
        return nil
    }
}
