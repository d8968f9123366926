/// Partitions that were named and do not exist: the shell around ``MissingPartitions``, of the consumer's thread.
///
/// librdkafka does not say so: it waits for them, and a group, which finds out for itself which topics there are, is not asked.
final class MissingPartitionSearch {
    private let core: ConsumerCore
    private let client: RdKafkaClient
    private var missing: MissingPartitions

    init(_ core: ConsumerCore, _ client: RdKafkaClient) {
        self.core = core
        self.client = client
        self.missing = MissingPartitions(
            named: core.configuration.partitions,
            interval: core.configuration.metadataRefreshInterval
        )
    }

    /// When there is something to do.
    var next: ContinuousClock.Instant? { missing.next }

    /// The named partitions are read from now on.
    func begin() {
        missing.begin(at: .now)
    }

    /// Looks which of them exist, on a thread of its own, for the question blocks. librdkafka hears the answer too, and begins
    /// with those that have come to exist.
    func advance(isClosing: Bool) {
        let actions = missing.advance(at: .now)
        if !isClosing { perform(actions) }
    }

    /// The answer, nil where no broker gave one.
    func found(_ found: Set<KafkaTopicPartition>?) {
        // That the brokers could not be asked they say by themselves.
        guard let found else { return missing.couldNotSearch(at: .now) }
        perform(missing.found(found, at: .now))
    }

    private func perform(_ actions: [MissingPartitions.Action]) {
        for action in actions {
            switch action {
            case .search(let partitions): search(partitions)
            case .report(let partition):
                core.report(
                    KafkaError(
                        .unknownTopicOrPartition,
                        recovery: .fixRequest,
                        reason: "\(partition) was named and does not exist; it is read when it does"
                    ),
                    of: partition
                )
            }
        }
    }

    private func search(_ partitions: Set<KafkaTopicPartition>) {
        let (core, client) = (core, client)
        let isStarted = BlockingThread.start("kafka-partitions") {
            core.send(.found(missing: client.missing(of: partitions, within: .seconds(5))))
        }
        if !isStarted { missing.couldNotSearch(at: .now) }
    }
}
