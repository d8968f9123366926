internal import OutboxDelivery

/// Rows by their slots: which numbers they span.
struct PostgresSpans {
    struct Span {
        let slot: Int
        var first: Int64
        var last: Int64
        var numbers: [Int64]
    }

    /// One for each slot.
    private(set) var spans: [Span] = []

    init(_ rows: [OutboxEvent.ID]) {
        var places: [Int: Int] = [:]
        // Rows of one slot stand together: each run is looked up once.
        var place: Int?
        for row in rows {
            if place.map({ spans[$0].slot }) != row.slot { place = places[row.slot] }
            guard let known = place else {
                place = spans.count
                places[row.slot] = spans.count
                spans.append(Span(slot: row.slot, first: row.number, last: row.number, numbers: [row.number]))
                continue
            }
            spans[known].first = min(spans[known].first, row.number)
            spans[known].last = max(spans[known].last, row.number)
            spans[known].numbers.append(row.number)
        }
    }

    /// Whether to go through all rows between the first and the last of each slot costs less than to look each up: there are several of
    /// each slot, and not too many others between them. Of 32 numbers one is a slot's own, where many keys are written.
    var areDense: Bool {
        let count = spans.reduce(0) { $0 + $1.numbers.count }
        let width = spans.reduce(0.0) { $0 + Double($1.last) - Double($1.first) }
        return count >= max(100, 16 * spans.count) && width <= Double(count) * 64
    }
}
