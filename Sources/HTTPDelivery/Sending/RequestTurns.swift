internal import DequeModule

/// Whose turn it is to send: one request at a time for each key, and so many in all. A value; who waits is a number.
///
/// Requests of one key take turns in the order in which they came. A key whose turn it is waits in ``ready`` until one of the
/// places is free, so that keys take turns, too, however many requests one of them has.
struct RequestTurns {
    private struct Waiter {
        let id: UInt64
        let key: String?
    }

    private let places: Int
    private var running = 0
    /// Behind the request of each key that is sent or is ready.
    private var behind: [String: Deque<UInt64>] = [:]
    private var ready: Deque<Waiter> = []

    init(places: Int) {
        self.places = places
    }

    /// A request comes.
    ///
    /// - Returns: Whether it is sent now; otherwise its number is returned by a later ``leave(_:)`` or ``cancel(_:key:)``.
    mutating func enter(_ id: UInt64, key: String?) -> Bool {
        if let key {
            guard behind[key] == nil else {
                behind[key]?.append(id)
                return false
            }
            behind[key] = []
        }
        guard running < places else {
            ready.append(Waiter(id: id, key: key))
            return false
        }
        running += 1
        return true
    }

    /// A request has been sent, and has its outcome.
    ///
    /// - Returns: The requests to send now.
    mutating func leave(_ key: String?) -> [UInt64] {
        running -= 1
        advance(key)
        return start()
    }

    /// A request that waits is taken out.
    ///
    /// - Returns: Whether it waited.
    mutating func cancel(_ id: UInt64, key: String?) -> Bool {
        if let index = ready.firstIndex(where: { $0.id == id }) {
            ready.remove(at: index)
            advance(key)
            return true
        }
        guard let key, let index = behind[key]?.firstIndex(of: id) else { return false }
        behind[key]?.remove(at: index)
        return true
    }

    /// The next request of a key is ready, or the key is free.
    private mutating func advance(_ key: String?) {
        guard let key else { return }
        if let next = behind[key]?.popFirst() {
            ready.append(Waiter(id: next, key: key))
        } else {
            behind[key] = nil
        }
    }

    private mutating func start() -> [UInt64] {
        var started: [UInt64] = []
        while running < places, let next = ready.popFirst() {
            running += 1
            started.append(next.id)
        }
        return started
    }

    /// Whether no request is sent or waits.
    var isIdle: Bool { running == 0 && ready.isEmpty }
}
