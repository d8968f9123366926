internal import Logging

/// Offsets that the brokers do not have any more.
extension ConsumerLoop {
    /// Tells of partitions that librdkafka has reset since the last time.
    func tellResets() {
        for reset in client.groupLog?.resets.take() ?? [] {
            readers[reset.partition]?.noteResets()
            metrics?.noteReset()
            core.logger.warning(
                "The offset to be read next is not in the partition any more, going on elsewhere",
                metadata: [
                    "kafka_partition": "\(reset.partition)", "kafka_offset": "\(reset.offset)",
                    "kafka_start": "\(core.configuration.autoOffsetReset)",
                ]
            )
            core.events.send(.offsetReset(reset.partition, from: reset.offset))
        }
    }

    // MARK: Rebalances

    /// Finds the partitions that librdkafka has reset, and of which nothing was read since; nothing is read of them until
    /// ``finishReturning(_:)``.
    ///
    /// A rebalance pauses what stays assigned, and librdkafka goes on from where the application was, of which a reset changes
    /// nothing: at the offset that was not there. In the meantime another log may have grown beyond it, and all before it would be
    /// skipped. A seek, unlike a reset, makes librdkafka forget where the application was. Where a new group starts at the end
    /// there is no way back: what has come since would be skipped.
    func beginReturning() -> [PartitionReader] {
        tellResets()
        guard closing == nil, core.configuration.autoOffsetReset == .beginning else { return [] }
        return readers.values.filter { $0.isUnresolved && $0.beginSeek() }
    }

    /// Brings them to where the reset had sent them. After the answer to the rebalance, which resumes them.
    func finishReturning(_ unresolved: [PartitionReader]) {
        guard !unresolved.isEmpty else { return }
        core.bring(unresolved, to: .beginning)
    }
}
