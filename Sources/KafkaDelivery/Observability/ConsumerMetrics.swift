internal import CoreMetrics
internal import Synchronization

/// A consumer's metrics. Used by the consumer's thread alone.
///
/// Nothing on the way of a message knows of them: a partition counts what happens to it under the lock that it takes
/// anyway (``OffsetTracker/Totals``), and the thread takes the differences every few seconds.
struct ConsumerMetrics {
    typealias Instant = ContinuousClock.Instant

    /// How often they are brought up to date.
    let interval: Duration

    /// What one partition says of itself.
    struct Snapshot {
        let totals: OffsetTracker.Totals
        let unsettled: Int
        /// When the earliest unsettled delivery was handed out last.
        let oldest: HandlingWatch.Stamp?
        /// Where what is not finished begins; nil where that is not known yet.
        let unfinished: Int64?
    }

    /// One partition in one generation.
    private struct Exported {
        let reader: PartitionReader
        let lag: Gauge
        var totals = OffsetTracker.Totals()
    }

    /// When they are due.
    private(set) var next = Instant.now

    private let factory: any MetricsFactory
    private let dimensions: [(String, String)]
    private var partitions: [KafkaTopicPartition: Exported] = [:]
    private var exportedLate = 0
    private var exportedEvents = EventHub.Counts()

    private let delivered: Counter
    private let redelivered: Counter
    private let acknowledged: Counter
    private let rejected: Counter
    private let late: Counter
    private let stuck: Counter
    private let deadLetters: Counter
    private let deadLetterFailures: Counter
    private let commits: Counter
    private let commitFailures: Counter
    private let uncommitted: Counter
    private let assigned: Gauge
    private let unsettled: Gauge
    private let oldestUnsettled: Gauge

    /// Nil where nobody collects them.
    init?(_ configuration: KafkaConsumer.Configuration) {
        let factory = configuration.metricsFactory ?? MetricsSystem.factory
        if factory is NOOPMetricsHandler { return nil }
        let dimensions = [("client_id", configuration.clientID), ("group", configuration.group)]
        self.interval = configuration.metricsInterval
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
        commits = counter("commits")
        commitFailures = counter("commit_failures")
        uncommitted = counter("uncommitted_acknowledgements")
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

    /// A generation begins.
    mutating func begin(_ reader: PartitionReader) {
        let partition = reader.partition
        let place = [("topic", partition.topic), ("partition", String(partition.partition))]
        let lag = Gauge(label: "kafka_consumer_partition_lag", dimensions: dimensions + place, factory: factory)
        partitions[partition] = Exported(reader: reader, lag: lag)
    }

    /// A generation ended. Its lag is not told any more: it is somebody else's.
    mutating func end(_ reader: PartitionReader) {
        guard partitions[reader.partition]?.reader === reader else { return }
        _ = export(reader.partition)
        partitions.removeValue(forKey: reader.partition)?.lag.destroy()
        assigned.record(partitions.count)
    }

    /// Brings everything up to date.
    mutating func export(_ core: ConsumerCore, _ watch: HandlingWatch, at now: Instant) {
        next = now.advanced(by: interval)
        var unsettledCount = 0
        var age = Duration.zero
        for partition in Array(partitions.keys) {
            guard let snapshot = export(partition) else { continue }
            unsettledCount += snapshot.unsettled
            if let oldest = snapshot.oldest { age = max(age, watch.age(of: oldest, at: now)) }
            let end = core.client?.cachedEnd(of: partition) ?? 0
            if let unfinished = snapshot.unfinished, end >= 0 {
                partitions[partition]?.lag.record(max(end - unfinished, 0))
            }
        }
        assigned.record(partitions.count)
        unsettled.record(unsettledCount)
        oldestUnsettled.record(age / .seconds(1))

        let lateCount = core.lateCount
        late.increment(by: lateCount - exportedLate)
        exportedLate = lateCount
        let events = core.events.counts
        stuck.increment(by: events.stuck - exportedEvents.stuck)
        deadLetters.increment(by: events.deadLetters - exportedEvents.deadLetters)
        deadLetterFailures.increment(by: events.deadLetterFailures - exportedEvents.deadLetterFailures)
        exportedEvents = events
    }

    private mutating func export(_ partition: KafkaTopicPartition) -> Snapshot? {
        guard let exported = partitions[partition] else { return nil }
        let snapshot = exported.reader.snapshot
        let before = exported.totals
        delivered.increment(by: snapshot.totals.delivered - before.delivered)
        redelivered.increment(by: snapshot.totals.redelivered - before.redelivered)
        acknowledged.increment(by: snapshot.totals.acknowledged - before.acknowledged)
        rejected.increment(by: snapshot.totals.rejected - before.rejected)
        partitions[partition]?.totals = snapshot.totals
        return snapshot
    }
}

extension PartitionReader {
    /// What metrics say of the partition.
    var snapshot: ConsumerMetrics.Snapshot {
        state.withLock { state in
            ConsumerMetrics.Snapshot(
                totals: state.tracker.totals,
                unsettled: state.tracker.unsettledCount,
                oldest: state.tracker.firstUnsettled?.stamp,
                unfinished: state.tracker.firstUnsettled?.offset ?? state.pending?.offset ?? state.position
            )
        }
    }
}
