/// How long many things took.
package struct Percentiles {
    private let sorted: [Duration]

    package init(_ durations: [Duration]) {
        self.sorted = durations.sorted()
    }

    /// The least that so many percent did not exceed; nil where there is none.
    package subscript(percent: Int) -> Duration? {
        guard !sorted.isEmpty else { return nil }
        let rank = (sorted.count * min(max(percent, 0), 100) + 99) / 100
        return sorted[max(rank, 1) - 1]
    }
}
