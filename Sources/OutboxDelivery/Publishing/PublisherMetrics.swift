internal import CoreMetrics

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// A publisher's metrics, brought up to date with each batch. Labels are destinations' names, which the configuration bounds.
struct PublisherMetrics {
    private struct OfDestination {
        let published: Counter
        let rejected: Counter
        let unknown: Counter
        let parked: Counter
        let latency: Timer
    }

    private let destinations: [String: OfDestination]
    private let inFlight = Gauge(label: "outbox_events_in_flight")
    private let slots = Gauge(label: "outbox_slots")
    private let oldest = Gauge(label: "outbox_oldest_seconds")
    private let belowFloor = Counter(label: "outbox_rows_below_floor_total")
    private let sessions = Counter(label: "outbox_sessions_lost_total")

    /// Nil where the process collects no metrics.
    init?(destinations names: [String]) {
        if MetricsSystem.factory is NOOPMetricsHandler { return nil }
        destinations = Dictionary(
            uniqueKeysWithValues: names.map { name in
                let labels = [("destination", name)]
                return (
                    name,
                    OfDestination(
                        published: Counter(label: "outbox_events_published_total", dimensions: labels),
                        rejected: Counter(label: "outbox_events_rejected_total", dimensions: labels),
                        unknown: Counter(label: "outbox_events_unconfirmed_total", dimensions: labels),
                        parked: Counter(label: "outbox_events_parked_total", dimensions: labels),
                        latency: Timer(label: "outbox_delivery_seconds", dimensions: labels)
                    )
                )
            }
        )
    }

    /// A batch has its outcomes. The latency is of its oldest event that was confirmed, from its writing on, by both machines' clocks.
    func count(_ name: String, _ batch: [OutboxEvent], _ outcomes: [OutboxOutcome], inFlight count: Int) {
        guard let destination = destinations[name] else { return }
        var accepted = 0
        var rejected = 0
        var unknown = 0
        for outcome in outcomes {
            switch outcome {
            case .accepted: accepted += 1
            case .rejected, .unroutable: rejected += 1
            case .unknown: unknown += 1
            case .unavailable: continue
            }
        }
        destination.published.increment(by: accepted)
        destination.rejected.increment(by: rejected)
        destination.unknown.increment(by: unknown)
        inFlight.record(count)
        if let event = zip(batch, outcomes).first(where: { $0.1.isAccepted })?.0 {
            destination.latency.recordNanoseconds(Self.nanoseconds(from: event.createdAt, to: Date()))
        }
    }

    /// Rows may have any time, also one in the future, or longer ago than fits.
    static func nanoseconds(from start: Date, to end: Date) -> Int64 {
        let nanoseconds = (max(0, end.timeIntervalSince(start)) * 1_000_000_000).rounded()
        return Int64(exactly: nanoseconds) ?? .max
    }

    func note(_ event: OutboxPublisher.Event) {
        switch event {
        case .parked(let event, _, _): destinations[event.message.destination]?.parked.increment()
        case .slots(let owned, _): slots.record(owned.count)
        case .sessionLost: sessions.increment()
        case .maintained(let found):
            if found.foundBelowFloor > 0 { belowFloor.increment(by: found.foundBelowFloor) }
            let age = (found.oldestAge ?? .zero).components
            oldest.record(Double(age.seconds) + Double(age.attoseconds) / 1e18)
        default: break
        }
    }
}
