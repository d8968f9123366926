internal import Logging

/// Offsets that the brokers do not have any more.
extension ConsumerLoop {
    /// Tells of partitions that librdkafka has reset since the last time.
    func tellResets() {
        for reset in client.groupLog?.resets.take() ?? [] {
            readers[reset.partition]?.noteReset(at: reset.offset)
            metrics?.noteReset()
            core.logger.warning(
                "The offset to be read next is not in the partition any more, going on elsewhere",
                metadata: [
                    "kafka_partition": "\(reset.partition)", "kafka_offset": "\(reset.offset)",
                    "kafka_start": "\(core.configuration.newGroupStart)",
                ]
            )
            core.events.send(.offsetReset(reset.partition, from: reset.offset))
        }
    }
}
