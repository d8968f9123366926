#if SQLite
    internal import DeliveryCore
    internal import GRDB
    internal import Synchronization

    /// Wakes a publisher when a transaction of this process has stored rows, or a person's decision.
    final class CommitWatch: TransactionObserver, Sendable {
        private struct State {
            /// Something came since the last wait.
            var hasCome = false
            /// The open transaction has stored something.
            var isPending = false
            var wait: TimedWait<Bool>?
        }

        private let outbox: String
        private let parked: String
        // GRDB calls on the queue of the connection that writes; the publisher's task waits.
        private let state = Mutex(State())

        init(outbox: String, parked: String) {
            self.outbox = outbox
            self.parked = parked
        }

        /// Waits for the next commit that stored something; not at all where there was one since the last wait.
        ///
        /// - Returns: Whether there was one.
        func wait(until deadline: ContinuousClock.Instant) async -> Bool {
            let wait = TimedWait<Bool>()
            let hasCome = state.withLock { state in
                if !state.hasCome { state.wait = wait }
                return state.hasCome
            }
            if !hasCome { _ = await wait.value(until: deadline, isCancellable: true) }
            return state.withLock { state in
                defer { state.hasCome = false }
                state.wait = nil
                return state.hasCome
            }
        }

        /// Something came.
        func wake() {
            let wait = state.withLock { state in
                state.hasCome = true
                return state.wait.take()
            }
            wait?.resume(true)
        }

        func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool {
            switch eventKind {
            case .insert(let table): table.lowercased() == outbox
            // Decisions are flags on parked rows.
            case .update(let table, _): table.lowercased() == parked
            case .delete: false
            }
        }

        func databaseDidChange(with event: DatabaseEvent) {
            state.withLock { $0.isPending = true }
            stopObservingDatabaseChangesUntilNextTransaction()
        }

        func databaseDidCommit(_ db: Database) {
            let isPending = state.withLock { state in
                defer { state.isPending = false }
                return state.isPending
            }
            if isPending { wake() }
        }

        func databaseDidRollback(_ db: Database) {
            state.withLock { $0.isPending = false }
        }
    }
#endif
