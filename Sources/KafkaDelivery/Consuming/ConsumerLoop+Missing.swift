internal import Logging

/// Partitions that were named and do not exist.
///
/// librdkafka does not say so: it waits for them, and a group, which finds out for itself which topics there are, is not asked.
extension ConsumerLoop {
    /// Looks which of the named partitions exist, on a thread of its own, for the question blocks. librdkafka hears the answer
    /// too, and begins with those that have come to exist.
    func advanceSearch() {
        guard let due = nextSearch, due <= clock.now else { return }
        nextSearch = nil
        guard closing == nil else { return }
        let named = missing.isEmpty ? Set(core.configuration.partitions) : missing
        let core = core
        let client = client
        let isStarted = BlockingThread.start("kafka-partitions") {
            core.send(.found(missing: client.missing(of: named, within: .seconds(5))))
        }
        if !isStarted { searchLater() }
    }

    private func searchLater() {
        nextSearch = clock.now.advanced(by: core.configuration.metadataRefreshInterval)
    }

    func handleFound(_ found: Set<KafkaTopicPartition>?) {
        guard closing == nil else { return }
        // The brokers could not be asked, which they say by themselves.
        guard let found else { return searchLater() }
        for partition in found.subtracting(missing).sorted() {
            core.report(
                KafkaError(
                    .unknownTopicOrPartition,
                    recovery: .fixRequest,
                    reason: "\(partition) was named and does not exist; it is read when it does"
                ),
                of: partition
            )
        }
        missing = found
        if !found.isEmpty { searchLater() }
    }
}
