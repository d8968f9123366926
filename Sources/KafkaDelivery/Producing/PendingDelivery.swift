internal import Synchronization

extension KafkaProducer {
    /// A message that was accepted for sending, and whose report is still to come.
    ///
    /// Await ``report`` now, later, more than once, from several tasks, or never: the message is sent all the same.
    public final class PendingDelivery: Sendable {
        /// A report without its topic, which whoever awaits it adds: retained by the thread that reads reports, the one
        /// topic of all senders would wander between processor cores.
        struct Place: Sendable {
            let offset: Int64
            /// -1 where there is none.
            let millisecondsSince1970: Int64
            let partition: Int32

            static let none = Place(offset: -1, millisecondsSince1970: -1, partition: -1)
        }

        private enum State {
            case pending
            /// The usual case, without an array: one task awaits.
            case awaited(Waiter)
            case awaitedByMany([Waiter])
            case done
        }

        struct Waiter {
            let resume: Resume
            let id: UInt32

            enum Resume {
                // Unsafe, because the checked one costs an allocation for each send and a copy of the outcome; whoever
                // takes a waiter out of the state, which happens once, resumes it.
                case task(UnsafeContinuation<Void, Never>)
                case batch(PendingBatch)
                /// Of this part the send is what is in flight.
                case part(BatchPart)
                case transaction(TransactionScope)
            }

            /// Who has no id is never cancelled.
            init(_ resume: Resume, id: UInt32 = 0) {
                self.resume = resume
                self.id = id
            }

            /// Only tasks are cancelled.
            func isTask(_ id: UInt32) -> Bool {
                if case .task = resume { self.id == id } else { false }
            }

            /// - Parameter failure: Why the message has no place, where that is so.
            func callAsFunction(_ failure: KafkaError?) {
                switch resume {
                case .task(let continuation): continuation.resume()
                case .batch(let batch): batch.oneIsDone()
                case .part(let part):
                    if let failure { part.failRest(failure) }
                    part.batch.oneIsDone()
                case .transaction(let scope): scope.noteOutcome(failure)
                }
            }
        }

        /// On the heap, because few sends have one, and a send should have few of the processor's cache lines: there are
        /// many at a time, and two threads touch each.
        private final class Failure: Sendable {
            let error: KafkaError

            init(_ error: KafkaError) {
                self.error = error
            }
        }

        /// The message's topic, which the report does not have to copy.
        let topic: String

        // A lock and not an actor: reports arrive on a thread of librdkafka's making, which cannot await.
        private let state: Mutex<State>

        // Links of the inbox (to what was put in before), and then of the list of sends in flight, and this send's number in
        // that list, 0 outside of it. They belong to whoever puts the send into the inbox, and from then on to the
        // producer's thread.
        nonisolated(unsafe) var previous: Unmanaged<PendingDelivery>?
        nonisolated(unsafe) var next: Unmanaged<PendingDelivery>?
        nonisolated(unsafe) var sequence: UInt64 = 0
        /// How many messages it stands for that have no outcome yet. It belongs to the same.
        nonisolated(unsafe) var messageCount: Int32 = 1

        // Written once, under the lock and before isDone, and afterwards read without it. A failure counts, otherwise the
        // place.
        nonisolated(unsafe) private var failure: Failure?
        nonisolated(unsafe) private var place = Place.none
        private let isDone = Atomic(false)
        // Numbers of this send alone: one counter for all of them would be fought over by all threads.
        private let lastWaiter = Atomic<UInt32>(0)

        /// - Parameter batch: Told of the outcome from the first.
        init(topic: String, batch: PendingBatch? = nil) {
            self.topic = topic
            self.state = Mutex(batch.map { .awaited(Waiter(.batch($0))) } ?? .pending)
        }

        /// What is in flight for many messages.
        init(_ part: BatchPart) {
            self.topic = ""
            self.state = Mutex(.awaited(Waiter(.part(part))))
            self.messageCount = Int32(part.count)
        }

        /// Waits for the broker's answer.
        ///
        /// - Returns: Where the message is stored.
        /// - Throws: ``KafkaError``: that it is not, or may not be, stored, and why. A task that is cancelled while it
        ///   waits gets `.cancelled` with `possiblyPersisted` at once, for the message cannot be recalled; others that
        ///   await the same report are not affected.
        public var report: KafkaDeliveryReport {
            get async throws(KafkaError) {
                // Here too: what has its report already is read without another async call.
                if let report = try reportNow { return report }
                return try await waitForReport()
            }
        }

        /// A function and not a getter: it goes on where the caller runs, so that a send on an actor is not resumed on the
        /// pool first, to be sent on from there.
        func waitForReport() async throws(KafkaError) -> KafkaDeliveryReport {
            if let report = try reportNow { return report }
            let id = lastWaiter.wrappingAdd(1, ordering: .relaxed).newValue
            await withTaskCancellationHandler {
                await withUnsafeContinuation { continuation in
                    add(Waiter(.task(continuation), id: id))
                    // Cancelled before the waiter was there: its handler has run already and found nobody.
                    if Task.isCancelled { cancel(id) }
                }
            } onCancel: {
                cancel(id)
            }
            guard let report = try reportNow else { throw .cancelled(persistence: .possiblyPersisted) }
            return report
        }

        /// The report, or nil where there is none yet.
        ///
        /// - Throws: Why there is none.
        private var reportNow: KafkaDeliveryReport? {
            get throws(KafkaError) {
                guard isDone.load(ordering: .acquiring) else { return nil }
                if let failure { throw failure.error }
                return KafkaDeliveryReport(place, topic: topic)
            }
        }

        /// The report, or why there is none, where that is known already.
        var resultNow: Result<KafkaDeliveryReport, KafkaError>? {
            do throws(KafkaError) {
                return try reportNow.map { .success($0) }
            } catch {
                return .failure(error)
            }
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
            if !isAdded { waiter(failure?.error) }
        }

        private func cancel(_ id: UInt32) {
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
            cancelled?(nil)
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
        func resolve(_ place: Place) {
            resolve(place, nil)
        }

        /// The same where there is no place.
        func resolve(_ error: KafkaError) {
            resolve(place, Failure(error))
        }

        /// Ends what is in flight for many messages, which all have their outcomes in their slots.
        func endPart() {
            resolve(.none)
        }

        private func resolve(_ place: Place, _ failure: Failure?) {
            let waiters: State = state.withLock { state in
                let before = state
                if case .done = before { return .pending }
                state = .done
                self.place = place
                self.failure = failure
                isDone.store(true, ordering: .releasing)
                return before
            }
            switch waiters {
            case .pending, .done: break
            case .awaited(let waiter): waiter(failure?.error)
            case .awaitedByMany(let waiters): for waiter in waiters { waiter(failure?.error) }
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
