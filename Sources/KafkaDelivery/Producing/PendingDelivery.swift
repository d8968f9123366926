internal import Synchronization

extension KafkaProducer {
    /// A message that was accepted for sending, and whose report is still to come.
    ///
    /// Await ``report`` now, later, more than once, from several tasks, or never: the message is sent all the same.
    public final class PendingDelivery: Sendable {
        typealias Outcome = Result<Place, KafkaError>

        /// A report without its topic, which whoever awaits it adds: retained by the thread that reads reports, the one
        /// topic of all senders would wander between processor cores.
        struct Place: Sendable {
            let partition: Int32
            let offset: Int64
            let timestamp: KafkaTimestamp?
        }

        private enum State {
            case pending
            /// The usual case, without an array: one task awaits.
            case awaited(Waiter)
            case awaitedByMany([Waiter])
            case done
        }

        struct Waiter {
            let id: UInt64
            let resume: Resume

            enum Resume {
                // Unsafe, because the checked one costs an allocation for each send and a copy of the outcome; whoever
                // takes a waiter out of the state, which happens once, resumes it.
                case task(UnsafeContinuation<Void, Never>)
                case batch(PendingBatch)
                case transaction(TransactionScope)
            }

            /// Only tasks are cancelled.
            func isTask(_ id: UInt64) -> Bool {
                if case .task = resume { self.id == id } else { false }
            }

            func callAsFunction(_ outcome: Outcome) {
                switch resume {
                case .task(let continuation): continuation.resume()
                case .batch(let batch): batch.oneIsDone()
                case .transaction(let scope): scope.noteOutcome(outcome)
                }
            }
        }

        /// The message's topic, which the report does not have to copy.
        let topic: String

        // A lock and not an actor: reports arrive on a thread of librdkafka's making, which cannot await.
        private let state: Mutex<State>
        private let lastWaiter = Atomic<UInt64>(0)

        // Written once, under the lock and before isDone, and afterwards read without it.
        nonisolated(unsafe) private var outcome: Outcome?
        private let isDone = Atomic(false)

        // Links of the inbox, and then of the list of sends in flight, and this send's number in that list, 0 outside of it.
        // They belong to whoever puts the send into the inbox, and from then on to the producer's thread.
        nonisolated(unsafe) var next: Unmanaged<PendingDelivery>?
        nonisolated(unsafe) var previous: Unmanaged<PendingDelivery>?
        nonisolated(unsafe) var sequence: UInt64 = 0

        /// - Parameter batch: Told of the outcome from the first.
        init(topic: String, batch: PendingBatch? = nil) {
            self.topic = topic
            self.state = Mutex(batch.map { .awaited(Waiter(id: 0, resume: .batch($0))) } ?? .pending)
        }

        /// Waits for the broker's answer.
        ///
        /// - Returns: Where the message is stored.
        /// - Throws: ``KafkaError``: that it is not, or may not be, stored, and why. A task that is cancelled while it
        ///   waits gets `.cancelled` with `possiblyPersisted` at once, for the message cannot be recalled; others that
        ///   await the same report are not affected.
        public var report: KafkaDeliveryReport {
            get async throws(KafkaError) {
                try await waitForReport()
            }
        }

        /// A function and not a getter: it goes on where the caller runs, so that a send on an actor is not resumed on the
        /// pool first, to be sent on from there.
        func waitForReport() async throws(KafkaError) -> KafkaDeliveryReport {
            if let result = resultNow { return try result.get() }
            // Numbers of this send alone: one counter for all of them would be fought over by all threads.
            let id = lastWaiter.wrappingAdd(1, ordering: .relaxed).newValue
            await withTaskCancellationHandler {
                await withUnsafeContinuation { continuation in
                    add(Waiter(id: id, resume: .task(continuation)))
                    // Cancelled before the waiter was there: its handler has run already and found nobody.
                    if Task.isCancelled { cancel(id) }
                }
            } onCancel: {
                cancel(id)
            }
            guard let result = resultNow else { throw .cancelled(persistence: .possiblyPersisted) }
            return try result.get()
        }

        private func report(_ place: Place) -> KafkaDeliveryReport {
            KafkaDeliveryReport(
                topic: topic,
                partition: Int(place.partition),
                offset: place.offset,
                timestamp: place.timestamp
            )
        }

        /// The report, or why there is none, where that is known already.
        var resultNow: Result<KafkaDeliveryReport, KafkaError>? {
            switch outcomeNow {
            case nil: return nil
            case .success(let place): return .success(report(place))
            case .failure(let error): return .failure(error)
            }
        }

        private var outcomeNow: Outcome? {
            isDone.load(ordering: .acquiring) ? outcome : nil
        }

        /// Adds somebody to be told, or tells them at once.
        func add(_ waiter: Waiter) {
            let isAdded = state.withLock { state in
                switch state {
                case .pending: state = .awaited(waiter)
                case .awaited(let first): state = .awaitedByMany([first, waiter])
                case .awaitedByMany(let others): state = .awaitedByMany(others + [waiter])
                case .done: return false
                }
                return true
            }
            if !isAdded, let outcome = outcomeNow { waiter(outcome) }
        }

        private func cancel(_ id: UInt64) {
            let cancelled: Waiter? = state.withLock { state in
                switch state {
                case .awaited(let waiter) where waiter.isTask(id):
                    state = .pending
                    return waiter
                case .awaitedByMany(var waiters):
                    guard let index = waiters.firstIndex(where: { $0.isTask(id) }) else { return nil }
                    let waiter = waiters.remove(at: index)
                    state = .awaitedByMany(waiters)
                    return waiter
                default:
                    return nil
                }
            }
            cancelled?(.failure(.cancelled(persistence: .possiblyPersisted)))
        }

        /// Forgets who waits, for the message was not accepted; false where it has its outcome already.
        func discard() -> Bool {
            state.withLock { state in
                if case .done = state { return false }
                state = .done
                return true
            }
        }

        /// Gives the message its outcome. The first one counts; there is a second only where a report arrives after the
        /// producer was closed and gave up waiting for it.
        func resolve(_ outcome: Outcome) {
            let waiters: State = state.withLock { state in
                let before = state
                if case .done = before { return .pending }
                state = .done
                self.outcome = outcome
                isDone.store(true, ordering: .releasing)
                return before
            }
            switch waiters {
            case .pending, .done: break
            case .awaited(let waiter): waiter(outcome)
            case .awaitedByMany(let waiters): for waiter in waiters { waiter(outcome) }
            }
        }
    }
}

/// Numbers that tell waiters apart, so that cancelling one wakes that one.
enum WaiterID {
    private static let last = Atomic<UInt64>(0)

    static func next() -> UInt64 {
        last.wrappingAdd(1, ordering: .relaxed).newValue
    }
}

/// Waits once for many sends.
final class PendingBatch: Sendable {
    private struct State {
        var continuation: CheckedContinuation<Void, Never>?
        var isCancelled = false
    }

    // Sends may end before it is known how many there are.
    private static let unknown = Int.max / 2
    private let remaining = Atomic(PendingBatch.unknown)
    // The last report and the waiting task meet here.
    private let state = Mutex(State())

    func oneIsDone() {
        subtract(1)
    }

    private func subtract(_ count: Int) {
        guard remaining.wrappingSubtract(count, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        state.withLock { $0.continuation.take() }?.resume()
    }

    /// Waits until all are done, or until the task is cancelled. Called once.
    ///
    /// - Parameter count: How many there are.
    func wait(for count: Int) async {
        subtract(Self.unknown - count)
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if remaining.load(ordering: .acquiring) == 0 || state.isCancelled { return true }
                    state.continuation = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let continuation = state.withLock { state in
                state.isCancelled = true
                return state.continuation.take()
            }
            continuation?.resume()
        }
    }
}
