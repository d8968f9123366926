internal import Logging

/// Partitions that have failed are read again. Of the consumer's thread.
///
/// With `auto.offset.reset=error` librdkafka stops fetching a partition whose offset the brokers do not have, and refuses to
/// seek it (`_STATE`): only assigning it anew starts it over. Which is for the consumer's thread to do, and not in the middle
/// of a rebalance, of which it would look like the answer.
final class FailedPartitions {
    private let core: ConsumerCore
    private let client: RdKafkaClient
    private var restarts: [PartitionRestart] = []

    init(_ core: ConsumerCore, _ client: RdKafkaClient) {
        self.core = core
        self.client = client
    }

    /// When the first restart has waited as long as it may.
    var next: ContinuousClock.Instant? { restarts.map(\.deadline).min() }

    func add(_ restart: PartitionRestart) {
        restarts.append(restart)
    }

    /// Takes the next step.
    ///
    /// - Parameters:
    ///   - readers: All that are assigned.
    ///   - isRevoking: Whether partitions are on their way back: the group waits for another answer.
    ///   - isClosing: Whether nothing is read any more.
    func advance(_ readers: [KafkaTopicPartition: PartitionReader], isRevoking: Bool, isClosing: Bool) {
        guard !restarts.isEmpty else { return }
        let now = ContinuousClock.now
        var waiting: [PartitionRestart] = []
        for restart in restarts {
            if let gone = restart.readers.first(where: { readers[$0.reader.partition] !== $0.reader || isClosing }) {
                restart.continuation.resume(returning: .notAssigned(gone.reader.partition))
            } else if !isRevoking, isSteady {
                restart.continuation.resume(returning: begin(restart, readers))
            } else if restart.deadline <= now {
                restart.continuation.resume(returning: .notInTime)
            } else {
                waiting.append(restart)
            }
        }
        restarts = waiting
    }

    /// The consumer is closed.
    func finish() {
        for restart in restarts { restart.continuation.resume(returning: .closed(persistence: nil)) }
        restarts = []
    }

    /// Whether no rebalance is under way.
    private var isSteady: Bool {
        !core.configuration.joinsGroup || client.groupLog?.membership.isSteady ?? true
    }

    private func begin(
        _ restart: PartitionRestart,
        _ readers: [KafkaTopicPartition: PartitionReader]
    ) -> KafkaError? {
        // Nothing is handed out of it meanwhile, and what is in its queue is old.
        for (reader, _) in restart.readers { reader.discardFetched() }
        let partitions = restart.readers.map { PartitionOffset(partition: $0.reader.partition, offset: $0.offset) }
        let sought = Set(partitions.map(\.partition))
        // An eager assignment changes as a whole: where it goes on must not change between being asked for and being set.
        let others = client.isEager ? readers.values.filter { !sought.contains($0.partition) } : []
        let held = others.filter { $0.beginSeek() }
        defer { for reader in held { reader.finishSeek() } }
        let error = client.restart(
            partitions,
            others: others.map { PartitionOffset(partition: $0.partition, offset: $0.restartingPoint) }
        )
        if let error {
            // Some of it may have been done, and what was fetched is thrown away: going on would skip messages.
            for reader in restart.readers.map(\.reader) + others { reader.fail(error, isFetchStopped: true) }
            return error
        }
        for (reader, offset) in restart.readers { reader.begin(at: offset) }
        core.logger.info(
            "Partitions that had failed are read again",
            metadata: ["kafka_partitions": "\(sought.sorted())"]
        )
        return nil
    }
}

extension KafkaError {
    fileprivate static let notInTime = KafkaError(
        .timedOut,
        recovery: .retry,
        reason: "the group did not come to rest in time, and partitions that have failed were not sought"
    )
}
