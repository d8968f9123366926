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

    mutating func export(_ totals: DeliveryTotals, unsettled count: Int, at now: Moment) {
        next = now.advanced(by: interval)
        delivered.increment(by: totals.delivered - exported.delivered)
        redelivered.increment(by: totals.redelivered - exported.redelivered)
        acknowledged.increment(by: totals.acknowledged - exported.acknowledged)
        rejected.increment(by: totals.rejected - exported.rejected)
        late.increment(by: totals.late - exported.late)
        lost.increment(by: totals.lost - exported.lost)
        unsettled.record(count)
        exported = totals
    }
}
