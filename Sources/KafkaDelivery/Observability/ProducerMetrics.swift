internal import CoreMetrics

/// A producer's metrics. The producer's thread's alone, once that has begun.
///
/// Reports are counted as they are read, and what was counted is handed on every few seconds; sending knows
/// nothing of it.
struct ProducerMetrics: Sendable {
    /// How often they are brought up to date.
    private let interval: Duration

    /// When they are due.
    private(set) var next = Moment.now

    private let factory: any MetricsFactory
    private let dimensions: [(String, String)]
    private let sent: Counter
    private let confirmed: Counter
    private let inFlight: Gauge
    private let latency: Timer
    private var failed: [KafkaError.Kind: Counter] = [:]

    /// Since they were brought up to date last.
    private var confirmedCount = 0
    private var failedCounts: [KafkaError.Kind: Int] = [:]
    /// Since the beginning.
    private var endedCount = 0
    private var sentCount = 0

    /// Nil where the process collects no metrics.
    init?(clientID: String, factory: (any MetricsFactory)?, interval: Duration) {
        let factory = factory ?? MetricsSystem.factory
        if factory is NOOPMetricsHandler { return nil }
        let dimensions = [("client_id", clientID)]
        self.interval = interval
        self.factory = factory
        self.dimensions = dimensions
        sent = Counter(label: "kafka_producer_messages_sent_total", dimensions: dimensions, factory: factory)
        confirmed = Counter(label: "kafka_producer_messages_confirmed_total", dimensions: dimensions, factory: factory)
        inFlight = Gauge(label: "kafka_producer_messages_in_flight", dimensions: dimensions, factory: factory)
        latency = Timer(label: "kafka_producer_confirmation_seconds", dimensions: dimensions, factory: factory)
    }

    /// A message was confirmed.
    mutating func noteConfirmed() {
        confirmedCount += 1
    }

    /// Messages were not.
    mutating func note(_ error: KafkaError, count: Int = 1) {
        failedCounts[error.kind, default: 0] += count
    }

    /// How long the first message of a batch of reports took, which of those is the one that took longest.
    func note(microseconds: Int64) {
        latency.recordMicroseconds(microseconds)
    }

    /// Brings everything up to date.
    ///
    /// - Parameter isDecided: Whether librdkafka has all that is in flight. What it does not take was never sent, and a counter cannot go
    ///   back: while anything is being handed over those in flight count as sent the next time, or when they end.
    mutating func export(inFlight count: Int, isDecided: Bool, at now: Moment) {
        next = now.advanced(by: interval)
        confirmed.increment(by: confirmedCount)
        endedCount += confirmedCount
        confirmedCount = 0
        for (kind, count) in failedCounts {
            let counter =
                failed[kind]
                ?? Counter(
                    label: "kafka_producer_messages_failed_total",
                    dimensions: dimensions + [("error", kind.description)],
                    factory: factory
                )
            failed[kind] = counter
            counter.increment(by: count)
            endedCount += count
        }
        failedCounts = [:]
        let total = max(isDecided ? endedCount + count : endedCount, sentCount)
        sent.increment(by: total - sentCount)
        sentCount = total
        inFlight.record(count)
    }
}
