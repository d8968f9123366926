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

    /// Takes what is new.
    ///
    /// - Returns: What is to be handed on, with no lock held: how that is done is the application's code.
    mutating func takeReport(inFlight count: Int, at now: Moment) -> Report {
        next = now.advanced(by: interval)
        defer {
            confirmedCount = 0
            longest = .zero
            failedCounts = [:]
        }
        return Report(metrics: self, inFlight: count)
    }

    /// What has become of messages since the last one.
    struct Report: Sendable {
        fileprivate let metrics: PublisherMetrics
        fileprivate let inFlight: Int

        func handOn() {
            metrics.confirmed.increment(by: metrics.confirmedCount)
            if metrics.confirmedCount > 0 {
                metrics.latency.recordMicroseconds(Int64(metrics.longest / .microseconds(1)))
            }
            for (kind, count) in metrics.failedCounts {
                Counter(
                    label: "rabbitmq_publisher_messages_failed_total",
                    dimensions: metrics.dimensions + [("error", kind.rawValue)],
                    factory: metrics.factory
                ).increment(by: count)
            }
            metrics.inFlight.record(inFlight)
        }
    }
}
