/// What was committed, what arrived, and what of the outbox's promises was broken.
struct OutboxHistory {
    /// An event: the so-manieth of its key, in the order in which the key's transactions were committed.
    struct Event: Hashable, CustomStringConvertible {
        let key: String
        let number: Int
        var description: String { "\(key):\(number)" }
    }

    enum Anomaly: Hashable, CustomStringConvertible {
        case lost(Event)
        case neverCommitted(Event)
        case disordered(Event, after: Event)
        case otherIdempotencyKey(Event)

        var description: String {
            switch self {
            case .lost(let event): "\(event) was committed and did not arrive"
            case .neverCommitted(let event): "\(event) arrived and was not committed"
            case .disordered(let event, let later): "\(event) arrived for the first time after \(later)"
            case .otherIdempotencyKey(let event): "\(event) came again with another idempotency key"
            }
        }
    }

    struct Result {
        var anomalies: [Anomaly] = []
        var committed = 0
        var arrived = 0
        var duplicates: Int { arrived - committed }
        /// How often the event that arrived most often did.
        var mostOften = 0
    }

    /// - Parameters:
    ///   - committed: What the database says.
    ///   - arrived: In the order of arrival, at least for each key, with idempotency keys.
    static func check(committed: Set<Event>, arrived: [(event: Event, idempotencyKey: String?)]) -> Result {
        var result = Result()
        result.committed = committed.count
        result.arrived = arrived.count
        var keys: [Event: String?] = [:]
        var counts: [Event: Int] = [:]
        var last: [String: Event] = [:]
        for (event, key) in arrived {
            counts[event, default: 0] += 1
            if let known = keys[event] {
                if known != key { result.anomalies.append(.otherIdempotencyKey(event)) }
                continue
            }
            keys[event] = key
            if !committed.contains(event) { result.anomalies.append(.neverCommitted(event)) }
            if let before = last[event.key], before.number > event.number {
                result.anomalies.append(.disordered(event, after: before))
            }
            last[event.key] = event
        }
        result.anomalies += committed.subtracting(keys.keys).sorted { "\($0)" < "\($1)" }.map(Anomaly.lost)
        result.mostOften = counts.values.max() ?? 0
        return result
    }
}
