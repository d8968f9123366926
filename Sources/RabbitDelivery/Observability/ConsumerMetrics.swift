internal import CoreMetrics

/// A consumer's metrics. What happens is counted where it happens; the differences are taken every few seconds.
struct ConsumerMetrics {
    private let interval: Duration
    /// When they are due.
    private(set) var next = Moment.now

    private let delivered: Counter
    private let redelivered: Counter
    private let acknowledged: Counter
    private let rejected: Counter
    private let late: Counter
    private let lost: Counter
    private let deadLetters: Counter
    private let deadLetterFailures: Counter
    private let unsettled: Gauge
    private var exported = DeliveryTotals()

    /// Nil where the process collects no metrics.
    init?(queue: String, factory: (any MetricsFactory)?, interval: Duration) {
        let factory = factory ?? MetricsSystem.factory
        if factory is NOOPMetricsHandler { return nil }
        let dimensions = [("queue", queue)]
        func counter(_ name: String) -> Counter {
            Counter(label: "rabbitmq_consumer_\(name)_total", dimensions: dimensions, factory: factory)
        }
        self.interval = interval
        delivered = counter("deliveries")
        redelivered = counter("redeliveries")
        acknowledged = counter("acknowledgements")
        rejected = counter("negative_acknowledgements")
        late = counter("late_verdicts")
        lost = counter("lost_deliveries")
        deadLetters = counter("dead_letters")
        deadLetterFailures = counter("dead_letter_failures")
        unsettled = Gauge(label: "rabbitmq_consumer_unsettled_deliveries", dimensions: dimensions, factory: factory)
    }

    func note(_ event: RabbitEvent) {
        switch event {
        case .deadLettered, .rejected: deadLetters.increment()
        case .deadLetterFailed, .deadLetterRefused: deadLetterFailures.increment()
        default: break
        }
    }

    /// Takes what is new.
    ///
    /// - Returns: What is to be handed on, with no lock held: how that is done is the application's code.
    mutating func takeReport(_ totals: DeliveryTotals, unsettled count: Int, at now: Moment) -> Report {
        next = now.advanced(by: interval)
        defer { exported = totals }
        return Report(metrics: self, before: exported, totals: totals, unsettled: count)
    }

    /// What has become of deliveries since the last one.
    struct Report: Sendable {
        fileprivate let metrics: ConsumerMetrics
        fileprivate let before: DeliveryTotals
        fileprivate let totals: DeliveryTotals
        fileprivate let unsettled: Int

        func handOn() {
            metrics.delivered.increment(by: totals.delivered - before.delivered)
            metrics.redelivered.increment(by: totals.redelivered - before.redelivered)
            metrics.acknowledged.increment(by: totals.acknowledged - before.acknowledged)
            metrics.rejected.increment(by: totals.rejected - before.rejected)
            metrics.late.increment(by: totals.late - before.late)
            metrics.lost.increment(by: totals.lost - before.lost)
            metrics.unsettled.record(unsettled)
        }
    }
}
