#if SQLite
    internal import Synchronization

    /// Owners that are closed and have the lease still: until it is given back, or for good where the database was busy or away for that.
    /// They change nothing any more, so the next session of the same outbox need not wait for their lease's end.
    ///
    /// A session is in it only if it had the lease. One that gave it back is taken out, and whoever has the lease after that empties it.
    final class OrphanedLeases: Sendable {
        // Sessions of several publishers may end at the same time.
        private let owners = Mutex<Set<String>>([])

        func insert(_ owner: String) {
            owners.withLock { _ = $0.insert(owner) }
        }

        func remove(_ owner: String) {
            owners.withLock { _ = $0.remove(owner) }
        }

        func contains(_ owner: String) -> Bool {
            owners.withLock { $0.contains(owner) }
        }

        func removeAll() {
            owners.withLock { $0 = [] }
        }

        /// As a JSON array. Owners are made of letters, digits and `-`.
        var list: String {
            owners.withLock { "[" + $0.map { "\"\($0)\"" }.joined(separator: ",") + "]" }
        }
    }
#endif
