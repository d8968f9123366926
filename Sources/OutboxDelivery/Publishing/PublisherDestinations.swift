/// Which destinations a publisher has, and which of them are away.
struct PublisherDestinations {
    typealias Instant = ContinuousClock.Instant

    private struct Destination {
        let maximumBatchCount: Int
        var backoff: OutboxBackoff
        /// Nil while it is there; then when it is tried again.
        var availableAgain: Instant?
        /// Where it has many.
        var places = PublisherPlaces()
    }

    /// In their order.
    let names: [String]
    private let exactlyOnce: Set<String>
    private let manyPlaces: Set<String>
    private let longest: Duration
    private var destinations: [String: Destination]
    /// Names in rows that were told; 100 at most, for rows may have any.
    private var told: Set<String> = []

    init(_ counts: [String: Int], exactlyOnce: Set<String>, manyPlaces: Set<String>, _ retry: OutboxRetry) {
        names = counts.keys.sorted()
        self.exactlyOnce = exactlyOnce
        self.manyPlaces = manyPlaces
        longest = retry.maximumDelay
        destinations = counts.mapValues { count in
            Destination(
                maximumBatchCount: max(count, 1),
                backoff: OutboxBackoff(first: retry.delay, longest: retry.maximumDelay)
            )
        }
    }

    /// Those that are none of these, each once.
    mutating func unknown(among found: Set<String>) -> [String] {
        found.sorted().filter { !names.contains($0) && told.count < 100 && told.insert($0).inserted }
    }

    /// When those that are away are tried again.
    var availableAgain: [Instant?] { destinations.values.map(\.availableAgain) }

    /// Whether it is an ``ExactlyOnceDestination``.
    func storesOnce(_ name: String) -> Bool { exactlyOnce.contains(name) }

    /// Whether the places of a batch's events are asked for although all had a verdict.
    func watchesPlaces(of name: String) -> Bool { destinations[name]?.places.areWatched ?? false }

    func maximumBatchCount(of name: String) -> Int { destinations[name]?.maximumBatchCount ?? 1 }

    /// How many batches may be under way: none while it is away, and then one that tries whether it is there again.
    func maximumBatches(of name: String, _ usual: Int, at now: Instant) -> Int {
        guard let again = destinations[name]?.availableAgain else { return usual }
        return again > now ? 0 : 1
    }

    /// Takes note of a batch's outcomes. Where nothing of it had a verdict the destination itself is away, and all its rows wait for it,
    /// unless it has many places.
    ///
    /// - Parameter places: Of each event, where it has many and they are known.
    /// - Returns: Whether it is away.
    mutating func note(
        _ outcomes: [OutboxOutcome],
        _ places: [String?] = [],
        of name: String,
        at now: Instant,
        _ tell: (OutboxPublisher.Event) -> Void
    ) -> Bool {
        if manyPlaces.contains(name) {
            destinations[name]?.places.note(outcomes, places, of: name, at: now, tell)
            return false
        }
        var asked: Duration?
        for outcome in outcomes {
            switch outcome {
            case .accepted, .rejected, .unroutable:
                if destinations[name]?.availableAgain != nil { tell(.destinationAvailable(name)) }
                destinations[name]?.availableAgain = nil
                destinations[name]?.backoff.reset()
                return false
            case .unavailable(_, let after): asked = max(asked ?? .zero, after ?? .zero)
            case .unknown: continue
            }
        }
        // Batches that were under way together fail together: that is one failure, after which one batch tries whether it is over.
        if asked == nil || asked == .zero, let again = destinations[name]?.availableAgain, again > now { return true }
        guard var wait = destinations[name]?.backoff.next() else { return true }
        if let asked { wait = min(max(wait, asked), longest) }
        if destinations[name]?.availableAgain == nil {
            tell(.destinationUnavailable(name, reason: outcomes.lazy.compactMap(\.reason).first ?? ""))
        }
        destinations[name]?.availableAgain = now.advanced(by: wait)
        return true
    }
}
