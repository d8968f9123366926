internal import DeliveryCore
internal import Synchronization

/// Topics and partitions that librdkafka does not know: it asks for a topic's partitions every few minutes, and until then refuses
/// what goes to one that was added meanwhile. So a broker is asked before such a refusal counts.
final class UnknownPartitions: Sendable {
    private struct Name: Hashable {
        let topic: String
        /// Nil where the topic as a whole is asked for.
        let partition: Int?
    }

    /// What was just made is not known to every broker at once: where they are busy, after some seconds. A partition that does not
    /// exist is refused as much later, once in ``memory``.
    private static let patience = Duration.seconds(5)
    /// How long a partition counts as known to be missing: it is asked for again, and no longer waited for.
    private static let memory = Duration.seconds(10)
    private static let maximumCount = 1_000

    private let queue = BlockingQueue("kafka-metadata")
    // Any sender may ask.
    private let missing = Mutex<[Name: Moment]>([:])

    /// Until when a message is worth trying again that was refused just now.
    static func deadline(_ messageTimeout: Duration) -> ContinuousClock.Instant {
        .now.advanced(by: min(messageTimeout, patience))
    }

    /// Asks the brokers for a topic's partitions, which librdkafka then knows too.
    ///
    /// - Returns: Whether there is such a partition, or topic.
    func isThere(
        _ topic: String,
        _ partition: Int?,
        _ client: RdKafkaClient,
        until deadline: ContinuousClock.Instant
    ) async -> Bool {
        let name = Name(topic: topic, partition: partition)
        let isKnownToBeMissing = missing.withLock { missing in
            missing[name].map { $0.duration(to: .now) < Self.memory } ?? false
        }
        while true {
            let answer = await queue.run {
                Result { () throws(KafkaError) in
                    try client.partitions(of: topic, until: .now.advanced(by: .seconds(5)))
                }
            }
            switch answer {
            case .success(let partitions):
                if partition.map(partitions.contains) ?? !partitions.isEmpty {
                    missing.withLock { $0[name] = nil }
                    return true
                }
            case .failure(let error):
                guard error.kind == .unknownTopicOrPartition else { return false }
            }
            // Time is what is waited for: no broker says when it has heard of a topic.
            guard !isKnownToBeMissing, .now < deadline, (try? await Task.sleep(for: .milliseconds(50))) != nil else {
                break
            }
        }
        missing.withLock { missing in
            if missing.count >= Self.maximumCount { missing = [:] }
            missing[name] = .now
        }
        return false
    }
}
