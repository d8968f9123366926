internal import CoreMetrics
internal import Synchronization

/// A consumer's metrics. Used by the consumer's thread alone.
///
/// Nothing on the way of a message knows of them: a partition counts what happens to it under the lock that it takes
/// anyway (``DeliveryTotals``), and the thread takes the differences every few seconds.
final class ConsumerMetrics {
    typealias Instant = ContinuousClock.Instant

    /// How often they are brought up to date.
    let interval: Duration

    /// One partition in one generation.
    private struct Exported {
        let generation: Int
        let lag: Gauge
        var totals = DeliveryTotals()
    }

    /// When they are due.
    private(set) var next = Instant.now

    private let factory: any MetricsFactory
    private let dimensions: [(String, String)]
    private var partitions: [KafkaTopicPartition: Exported] = [:]
    private var exportedLate = 0
    private var exportedEvents = EventCounts()

    private let delivered: Counter
    private let redelivered: Counter
    private let acknowledged: Counter
    private let rejected: Counter
    private let late: Counter
    private let stuck: Counter
    private let deadLetters: Counter
    private let deadLetterFailures: Counter
    private let deadLetterRefusals: Counter
    private let commits: Counter
    private let commitFailures: Counter
    private let uncommitted: Counter
    private let resets: Counter
    private let assigned: Gauge
    private let unsettled: Gauge
    private let oldestUnsettled: Gauge

    /// Nil where the process collects no metrics.
    init?(clientID: String, group: String, factory: (any MetricsFactory)?, interval: Duration) {
        let factory = factory ?? MetricsSystem.factory
        if factory is NOOPMetricsHandler { return nil }
        let dimensions = [("client_id", clientID), ("group", group)]
        self.interval = interval
        self.factory = factory
        self.dimensions = dimensions
        func counter(_ name: String) -> Counter {
            Counter(label: "kafka_consumer_\(name)_total", dimensions: dimensions, factory: factory)
        }
        func gauge(_ name: String) -> Gauge {
            Gauge(label: "kafka_consumer_\(name)", dimensions: dimensions, factory: factory)
        }
        delivered = counter("deliveries")
        redelivered = counter("redeliveries")
        acknowledged = counter("acknowledgements")
        rejected = counter("negative_acknowledgements")
        late = counter("late_verdicts")
        stuck = counter("stuck_deliveries")
        deadLetters = counter("dead_letters")
        deadLetterFailures = counter("dead_letter_failures")
        deadLetterRefusals = counter("dead_letter_refusals")
        commits = counter("commits")
        commitFailures = counter("commit_failures")
        uncommitted = counter("uncommitted_acknowledgements")
        resets = counter("offset_resets")
        assigned = gauge("assigned_partitions")
        unsettled = gauge("unsettled_deliveries")
        oldestUnsettled = gauge("oldest_unsettled_seconds")
    }

    /// A commit was answered.
    func noteCommit(failed: Bool) {
        (failed ? commitFailures : commits).increment()
    }

    /// Acknowledgements did not reach the broker before their partition went.
    func noteUncommitted(_ messages: Int) {
        uncommitted.increment(by: messages)
    }

    /// The offset to be read next was not in a partition any more.
    func noteReset() {
        resets.increment()
    }

    /// A generation begins.
    func begin(_ partition: KafkaTopicPartition, generation: Int) {
        let partitionDimensions = [("topic", partition.topic), ("partition", String(partition.partition))]
        let lag = Gauge(
            label: "kafka_consumer_partition_lag",
            dimensions: dimensions + partitionDimensions,
            factory: factory
        )
        partitions[partition] = Exported(generation: generation, lag: lag)
    }

    /// A generation ended, with these last figures. Its lag is not told any more: it is another member's.
    func end(_ partition: KafkaTopicPartition, generation: Int, _ last: ConsumerSnapshot.Partition) {
        guard partitions[partition]?.generation == generation else { return }
        export(last.totals, of: partition)
        partitions.removeValue(forKey: partition)?.lag.destroy()
        assigned.record(partitions.count)
    }

    /// Brings everything up to date.
    func export(_ snapshot: ConsumerSnapshot, at now: Instant) {
        next = now.advanced(by: interval)
        var unsettledCount = 0
        var age = Duration.zero
        for (partition, now) in snapshot.partitions where partitions[partition] != nil {
            export(now.totals, of: partition)
            unsettledCount += now.unsettled
            if let oldest = now.oldestAge { age = max(age, oldest) }
            if let lag = now.lag { partitions[partition]?.lag.record(lag) }
        }
        assigned.record(partitions.count)
        unsettled.record(unsettledCount)
        oldestUnsettled.record(age / .seconds(1))

        late.increment(by: snapshot.lateVerdicts - exportedLate)
        exportedLate = snapshot.lateVerdicts
        let events = snapshot.events
        stuck.increment(by: events.stuck - exportedEvents.stuck)
        deadLetters.increment(by: events.deadLetters - exportedEvents.deadLetters)
        deadLetterFailures.increment(by: events.deadLetterFailures - exportedEvents.deadLetterFailures)
        deadLetterRefusals.increment(by: events.deadLetterRefusals - exportedEvents.deadLetterRefusals)
        exportedEvents = events
    }

    private func export(_ totals: DeliveryTotals, of partition: KafkaTopicPartition) {
        guard let before = partitions[partition]?.totals else { return }
        delivered.increment(by: totals.delivered - before.delivered)
        redelivered.increment(by: totals.redelivered - before.redelivered)
        acknowledged.increment(by: totals.acknowledged - before.acknowledged)
        rejected.increment(by: totals.rejected - before.rejected)
        partitions[partition]?.totals = totals
    }
}
