internal import Logging

/// A seek of partitions that librdkafka does not fetch any more.
struct PartitionRestart: Sendable {
    let readers: [(reader: PartitionReader, offset: Int64)]
    let deadline: ContinuousClock.Instant
    let continuation: CheckedContinuation<KafkaError?, Never>
}

/// Partitions that have failed are read again.
///
/// With `auto.offset.reset=error` librdkafka stops fetching a partition whose offset the brokers do not have, and refuses to
/// seek it (`_STATE`): only assigning it anew starts it over. Which is for the consumer's thread to do, and not in the middle
/// of a rebalance, of which it would look like the answer.
extension ConsumerLoop {
    func advanceRestarts() {
        guard !restarts.isEmpty else { return }
        let now = clock.now
        var waiting: [PartitionRestart] = []
        for restart in restarts {
            if let gone = restart.readers.first(where: { readers[$0.reader.partition] !== $0.reader || closing != nil })
            {
                restart.continuation.resume(returning: .notAssigned(gone.reader.partition))
            } else if maySetAssignment {
                restart.continuation.resume(returning: begin(restart))
            } else if restart.deadline <= now {
                restart.continuation.resume(returning: .notInTime)
            } else {
                waiting.append(restart)
            }
        }
        restarts = waiting
    }

    private var maySetAssignment: Bool {
        revocation == nil && (!core.configuration.joinsGroup || client.groupLog?.membership.isSteady ?? true)
    }

    private func begin(_ restart: PartitionRestart) -> KafkaError? {
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
