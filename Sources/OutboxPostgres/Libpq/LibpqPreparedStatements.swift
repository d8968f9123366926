internal import OutboxDelivery

/// Which statements a connection has prepared at its server, and how the next one travels. Used by the connection's thread only.
///
/// A text is prepared when it comes for the second time, and used by its name from when the server has confirmed that: what is sent
/// before travels as without it, so that nothing is sent by a name that the server refused, and a statement in between needs no
/// second way. Nothing is ever taken away: a pooler that knows prepared statements (PgBouncer from 1.21 on) does not know `DEALLOCATE`.
struct LibpqPreparedStatements {
    /// What a name at the server stands for: a text, and which of its values are bound as `bytea`.
    struct Key: Hashable {
        private let text: String
        private let binaries: [Bool]

        init(_ statement: OutboxStatement) {
            text = statement.text
            binaries = statement.values.map { if case .bytes = $0 { true } else { false } }
        }
    }

    /// How a statement travels.
    enum Way {
        case unnamed
        /// It is prepared under this name, and carried out.
        case preparing(String, Key)
        case named(String, Key)
    }

    private enum Step {
        case preparing
        case ready(String)
    }

    /// How many texts may be prepared.
    private let maximum: Int
    private var known: [Key: Step] = [:]
    /// Texts that came once.
    private var seen: Set<Key> = []
    private var lastName = 0
    /// How many are there, those included that are not used any more.
    private var count = 0

    init(maximum: Int) {
        self.maximum = maximum
    }

    mutating func way(of statement: OutboxStatement) -> Way {
        guard maximum > 0 else { return .unnamed }
        let key = Key(statement)
        switch known[key] {
        case .ready(let name): return .named(name, key)
        case .preparing: return .unnamed
        case nil: break
        }
        guard count < maximum else { return .unnamed }
        guard seen.remove(key) != nil else {
            if seen.count >= maximum { seen.removeAll() }
            seen.insert(key)
            return .unnamed
        }
        lastName += 1
        count += 1
        known[key] = .preparing
        return .preparing("outbox_\(lastName)", key)
    }

    /// The server has prepared it, or refused to.
    mutating func notePrepared(_ key: Key, as name: String, isThere: Bool) {
        known[key] = isThere ? .ready(name) : nil
        if !isThere { count -= 1 }
    }

    /// What was sent by its name failed.
    ///
    /// - Returns: Whether it failed of being prepared, and works when it is sent again: a column's type is another one now (`0A000`), or the
    ///   server's session is another one, or was told to forget (`26000`).
    mutating func noteFailure(_ code: String?, of key: Key) -> Bool {
        switch code {
        case "0A000": known[key] = nil
        case "26000":
            known = known.filter { if case .preparing = $0.value { true } else { false } }
            count = known.count
        default: return false
        }
        return true
    }
}
