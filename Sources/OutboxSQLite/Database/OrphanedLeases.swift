#if SQLite
    internal import Synchronization

    /// Owners that hold the lease and are closed, because the database was busy or away when they gave it back. They change nothing any
    /// more, so the next session of the same outbox need not wait for their lease's end.
    ///
    /// A session is in it only if it had the lease, and whoever has it after that empties it.
    final class OrphanedLeases: Sendable {
        // Sessions of several publishers may end at the same time.
        private let owners = Mutex<Set<String>>([])

        func insert(_ owner: String) {
            owners.withLock { _ = $0.insert(owner) }
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
