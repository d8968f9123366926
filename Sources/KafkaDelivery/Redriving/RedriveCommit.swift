internal import Logging

/// How a redrive's record is committed: by itself, and not with what its consumer acknowledges.
enum RedriveCommit {
    /// How long a commit is tried again.
    private static let patience = Duration.seconds(15)

    /// Commits, again after errors that pass, for as long as the partition is ours. During a rebalance the coordinator
    /// refuses commits for a moment. Blocks.
    static func run(
        _ offset: PartitionOffset,
        _ reader: PartitionReader,
        _ logger: Logger
    ) throws(KafkaError) {
        let deadline = ContinuousClock.now.advanced(by: patience)
        while reader.isOurs {
            do {
                return try reader.core.usableClient().commit(offset)
            } catch {
                guard error.recovery == .retry, ContinuousClock.now < deadline else {
                    if reader.isOurs { throw error }
                    break
                }
                RdKafkaClient.pause()
            }
        }
        logger.notice(
            "Replays confirmed and their partition gone before that was remembered: its next owner sends them once more",
            metadata: ["kafka_partition": "\(offset.partition)"]
        )
    }
}
