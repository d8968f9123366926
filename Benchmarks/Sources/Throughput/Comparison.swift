/// One cell's result: what both sides measured, round by round.
struct Comparison: Codable, Sendable {
    var cell: Cell
    /// In the order of the rounds.
    var library: [Sample]
    var bare: [Sample]
    /// Allocations a message, counted in the round that warms up; nil where this platform cannot.
    var libraryAllocations: Double?
    var bareAllocations: Double?

    /// Of the medians, and of the pairs of rounds the least and the greatest.
    struct Ratio: Codable, Sendable {
        var value: Double
        var least: Double
        var greatest: Double
    }

    func ratio(_ value: (Sample) -> Double?) -> Ratio? {
        let (ours, theirs) = (library.compactMap(value), bare.compactMap(value))
        guard !ours.isEmpty, ours.count == theirs.count, let below = theirs.median, below > 0, let above = ours.median
        else { return nil }
        let pairs = zip(ours, theirs).map { $0 / max($1, .leastNonzeroMagnitude) }
        return Ratio(value: above / below, least: pairs.min() ?? 0, greatest: pairs.max() ?? 0)
    }

    var rate: Ratio? { hasRate ? ratio { $0.rate } : nil }
    /// Of a consumer that stands still there is no message to take time for.
    var processor: Ratio? { cell.isBusy ? ratio { $0.processor } : nil }
    var p99: Ratio? { ratio { $0.latency?.p99 } }

    /// Where messages come at a rate that is given, or not at all, how fast they are says nothing.
    var hasRate: Bool {
        switch cell.shape {
        case .endToEnd, .standStill: false
        default: true
        }
    }

    /// A side's rate by that of its work without Kafka: the median, the least, the greatest.
    func ofIdeal(_ samples: [Sample]) -> Ratio? {
        let parts = samples.compactMap { sample in sample.idealRate.map { sample.rate / $0 } }
        guard let median = parts.median else { return nil }
        return Ratio(value: median, least: parts.min() ?? 0, greatest: parts.max() ?? 0)
    }

    /// Each figure to reach, and whether it was.
    var verdicts: [(what: String, isReached: Bool)] {
        var result: [(String, Bool)] = []
        func add(_ what: String, _ limit: Double?, _ value: Double?, _ compare: (Double, Double) -> Bool) {
            if let limit, let value { result.append((what, compare(value, limit))) }
        }
        add("rate ≥ \(format(cell.target.rate))", cell.target.rate, rate?.value, >=)
        add("of ideal ≥ \(format(cell.target.ofIdeal))", cell.target.ofIdeal, ofIdeal(library)?.value, >=)
        add("CPU ≤ \(format(cell.target.processor))", cell.target.processor, processor?.value, <=)
        add("p99 ≤ \(format(cell.target.p99))", cell.target.p99, p99?.value, <=)
        add("gap ≤ 50 ms", cell.target.gap, library.compactMap(\.longestGap).median, <=)
        return result
    }

    private func format(_ limit: Double?) -> String {
        limit.map { Figure.ratio($0) } ?? ""
    }
}

/// Everything that was measured, and where.
struct Run: Codable, Sendable {
    var machine: Machine
    var rounds: Int
    var comparisons: [Comparison] = []
    /// What could not be measured, and why.
    var failures: [String] = []
}

extension [Double] {
    var median: Double? {
        guard !isEmpty else { return nil }
        let sorted = sorted()
        let middle = count / 2
        return count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}
