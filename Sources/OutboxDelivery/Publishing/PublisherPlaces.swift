/// Which places of a destination with many do not answer, to be told: changes only, and that a place is away at most once
/// in half a minute. Nothing waits for it.
///
/// A place counts as away after ``toldBatches`` batches in a row that had events for it and no verdict on any, over ``toldAfter`` or
/// longer; a verdict ends that. So one that answers some of its events is never told, however the answers are mixed.
struct PublisherPlaces {
    typealias Instant = ContinuousClock.Instant

    enum Place: Hashable {
        /// The destination as a whole.
        case all
        case one(String)
    }

    private struct Silence {
        let since: Instant
        var last: Instant
        var batches = 0
        var isTold = false
    }

    static let toldBatches = 10
    static let toldAfter = Duration.seconds(30)
    /// For so long without a batch for it a place keeps its room, where it was not told.
    static let kept = Duration.seconds(120)
    /// So many places without a verdict are watched at a time; what is beyond is not told.
    static let maximum = 1_000

    /// Since the last verdict of each.
    private var silences: [Place: Silence] = [:]

    /// Whether one is watched, so that what is accepted says something, too.
    var areWatched: Bool { !silences.isEmpty }

    /// Takes note of a batch's outcomes.
    ///
    /// - Parameter places: Of each event, as far as they are known.
    mutating func note(
        _ outcomes: [OutboxOutcome],
        _ places: [String?],
        of name: String,
        at now: Instant,
        _ tell: (OutboxPublisher.Event) -> Void
    ) {
        var order: [Place] = []
        // The first reason of a place; nil where it gave a verdict.
        var reasons: [Place: String?] = [:]
        for (index, outcome) in outcomes.enumerated() {
            let own = index < places.count ? places[index].map(Place.one) : nil
            let reason = outcome.isVerdict ? nil : outcome.reason ?? ""
            for place in [.all, own].compactMap(\.self) {
                switch reasons[place] {
                case nil:
                    order.append(place)
                    reasons[place] = .some(reason)
                case .some(.some): if reason == nil { reasons[place] = .some(nil) }
                case .some(nil): continue
                }
            }
        }
        for place in order {
            if let reason = reasons[place] ?? nil {
                noteSilence(place, reason, of: name, at: now, tell)
            } else if silences.removeValue(forKey: place)?.isTold == true {
                switch place {
                case .all: tell(.destinationAvailable(name))
                case .one(let text): tell(.placeAvailable(text, destination: name))
                }
            }
        }
    }

    private mutating func noteSilence(
        _ place: Place,
        _ reason: String,
        of name: String,
        at now: Instant,
        _ tell: (OutboxPublisher.Event) -> Void
    ) {
        if place != .all, silences[place] == nil, silences.count >= Self.maximum {
            // What waits is tried every 30 seconds by default: for a place without a batch nothing waits any more.
            silences = silences.filter { place, silence in
                silence.isTold || place == .all || silence.last.advanced(by: Self.kept) > now
            }
            guard silences.count < Self.maximum else { return }
        }
        var silence = silences[place] ?? Silence(since: now, last: now)
        silence.last = now
        silence.batches = min(silence.batches + 1, Self.toldBatches)
        if !silence.isTold, silence.batches == Self.toldBatches, silence.since.advanced(by: Self.toldAfter) <= now {
            silence.isTold = true
            switch place {
            case .all: tell(.destinationUnavailable(name, reason: reason))
            case .one(let text): tell(.placeUnavailable(text, destination: name, reason: reason))
            }
        }
        silences[place] = silence
    }
}

extension OutboxOutcome {
    /// Whether it says something about the event, and so that the place is there.
    var isVerdict: Bool {
        switch self {
        case .accepted, .rejected, .unroutable: true
        case .unavailable, .unknown: false
        }
    }
}
