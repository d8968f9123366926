internal import CoreMetrics

/// A publisher's metrics. Used by its connection's thread alone; counted as answers are read, and handed on every few seconds.
struct PublisherMetrics {
    private let interval: Duration
    /// When they are due.
    private(set) var next = Moment.now

    private let factory: any MetricsFactory
    private let dimensions: [(String, String)]
    private let confirmed: Counter
    private let inFlight: Gauge
    private let latency: Timer
    private var failed: [RabbitError.Kind: Counter] = [:]

    private var confirmedCount = 0
    private var failedCounts: [RabbitError.Kind: Int] = [:]
    /// The longest that one took since they were brought up to date.
    private var longest = Duration.zero

    /// Nil where the process collects no metrics.
    init?(name: String, factory: (any MetricsFactory)?, interval: Duration) {
        let factory = factory ?? MetricsSystem.factory
        if factory is NOOPMetricsHandler { return nil }
        let dimensions = [("client", name)]
        self.interval = interval
        self.factory = factory
        self.dimensions = dimensions
        confirmed = Counter(
            label: "rabbitmq_publisher_messages_confirmed_total",
            dimensions: dimensions,
            factory: factory
        )
        inFlight = Gauge(label: "rabbitmq_publisher_messages_in_flight", dimensions: dimensions, factory: factory)
        latency = Timer(label: "rabbitmq_publisher_confirmation_seconds", dimensions: dimensions, factory: factory)
    }

    mutating func noteConfirmed(since accepted: Moment) {
        confirmedCount += 1
        longest = max(longest, accepted.duration(to: .now))
    }

    mutating func note(_ error: RabbitError) {
        failedCounts[error.kind, default: 0] += 1
    }

    /// Brings everything up to date.
    mutating func export(inFlight count: Int, at now: Moment) {
        next = now.advanced(by: interval)
        confirmed.increment(by: confirmedCount)
        if confirmedCount > 0 { latency.recordMicroseconds(Int64(longest / .microseconds(1))) }
        confirmedCount = 0
        longest = .zero
        for (kind, count) in failedCounts {
            let counter =
                failed[kind]
                ?? Counter(
                    label: "rabbitmq_publisher_messages_failed_total",
                    dimensions: dimensions + [("error", kind.rawValue)],
                    factory: factory
                )
            failed[kind] = counter
            counter.increment(by: count)
        }
        failedCounts = [:]
        inFlight.record(count)
    }
}
