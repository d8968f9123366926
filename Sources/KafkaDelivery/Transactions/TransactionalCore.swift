internal import DequeModule
internal import Logging
internal import Synchronization

/// The shell around a transactional producer: whose turn it is, the client that is used, and the calls that begin and end
/// a transaction.
///
/// A client is made and initialised on first use, and given up for another where no answer says what state its
/// transaction is in. Initialising ends what an earlier client with the same transactional id left open.
final class TransactionalCore: Sendable {
    typealias Instant = ContinuousClock.Instant

    struct State {
        var turns = TransactionTurns()
        /// The client; nil where the next turn has to make one.
        var producer: ProducerCore?
        /// Why there will be none until the application asks for it.
        var failure: KafkaError?
        var scope: TransactionScope?
        /// The transaction that was in progress when closing began.
        var lastScope: TransactionScope?
        /// Ends the wait for the call under way.
        var abandonCall: (@Sendable () -> Void)?
        /// The time to close in is over: no call is waited for any more.
        var isOverdue = false
        /// Deliveries of transactions of which no answer says whether they were committed.
        var doubtful: [TransactionClaims] = []
        /// The end of the last client, where that may go on initialising itself until then.
        var unfinished: ClientEnd?
        /// The ends of clients that were given up, as far as they may still be to come.
        var ended: [ClientEnd] = []
    }

    let configuration: KafkaTransactionalProducer.Configuration
    let logger: Logger
    // Tasks that have a turn, wait for one, or close meet here. Nothing is called or resumed while it is held.
    let state = Mutex(State())

    init(_ configuration: KafkaTransactionalProducer.Configuration, logger: Logger) throws(KafkaError) {
        // What is wrong with the settings shows here, and not when the first transaction begins.
        _ = try configuration.rdKafka()
        guard configuration.closeTimeout >= .zero else {
            throw .invalidConfiguration("closeTimeout is \(configuration.closeTimeout), less than zero")
        }
        self.configuration = configuration
        self.logger = logger
    }

    var operationDeadline: Instant { .now.advanced(by: configuration.operationTimeout.asTimeout) }
}

// MARK: Turns

extension TransactionalCore {
    func takeTurn() async throws(KafkaError) {
        if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
        let error: KafkaError? = await waitCancellably { id, continuation in
            switch state.withLock({ $0.turns.take(TransactionTurns.Waiter(id: id, continuation: continuation)) }) {
            case .granted: continuation.resume(returning: nil)
            case .refused(let error): continuation.resume(returning: error)
            case .waits: break
            }
        } onCancel: { id in
            cancelWait(id)
        }
        if let error { throw error }
    }

    private func cancelWait(_ id: UInt64) {
        let waiter = state.withLock { $0.turns.cancel(id) }
        waiter?.continuation.resume(returning: .cancelled(persistence: .notPersisted))
    }

    func endTurn() {
        let (next, idle) = state.withLock { state in
            state.scope = nil
            return state.turns.giveBack()
        }
        next?.continuation.resume(returning: nil)
        for wait in idle { wait.resume(true) }
    }

    /// Runs a call of librdkafka's on a thread of its own; nil where it was not waited for.
    func call<Value: Sendable>(
        until deadline: Instant,
        isCancellable: Bool = false,
        _ body: @escaping @Sendable () -> Value
    ) async -> Value? {
        // librdkafka is told the same deadline; where it does not keep to it, it gets a little longer to say so.
        let patience = deadline.advanced(by: .milliseconds(500))
        let value = await BlockingCall.run(
            "kafka-transact",
            until: patience,
            isCancellable: isCancellable,
            onStart: { abandon in
                let isOverdue = state.withLock { state in
                    state.abandonCall = abandon
                    return state.isOverdue
                }
                if isOverdue { abandon() }
            },
            body
        )
        state.withLock { $0.abandonCall = nil }
        return value
    }
}

// MARK: The end

extension TransactionalCore {
    @discardableResult
    func close(within timeout: Duration) async -> KafkaCloseSummary {
        let deadline = Instant.now.advanced(by: timeout.asTimeout)
        let (waiters, scope, lastScope) = state.withLock { state in
            let isFirst = !state.turns.isClosed
            if isFirst { state.lastScope = state.scope }
            return (state.turns.close(), state.scope, state.lastScope)
        }
        for waiter in waiters { waiter.continuation.resume(returning: .closed()) }
        if let scope, scope.beginEnding(.closed()) {
            await abort(scope, by: deadline)
            scope.claims.reject()
            scope.conclude(.aborted)
        } else {
            // A transaction that is being committed or aborted goes on until the deadline.
            let wait = TimedWait<Bool>()
            if state.withLock({ $0.turns.waitUntilIdle(wait) }), await wait.value(until: deadline) == nil {
                let abandon = state.withLock { state in
                    state.isOverdue = true
                    return state.abandonCall
                }
                abandon?()
            }
        }
        abandonDoubts()
        giveUpClient()
        for end in state.withLock({ $0.ended }) {
            await end.waitAfterClosing(until: deadline.advanced(by: .seconds(1)))
        }
        return lastScope?.summary ?? KafkaCloseSummary()
    }

    /// Ends without waiting, for a producer that was dropped: it has no transaction.
    func abandon() {
        abandonDoubts()
        giveUpClient()
    }

    /// It will not be found out any more what became of the deliveries in doubt. The next reader of their partitions asks the
    /// group; until then neither closing the consumer nor a revocation waits for them, and nothing is committed past them.
    private func abandonDoubts() {
        let doubtful = state.withLock { state in
            defer { state.doubtful = [] }
            return state.doubtful
        }
        for claims in doubtful { claims.abandon() }
    }
}

extension ContinuousClock.Instant {
    /// How long it is until then, at least zero.
    var remaining: Duration {
        max(.zero, ContinuousClock.now.duration(to: self))
    }
}

extension Result where Success == Void {
    /// Success where there is no failure.
    init(failure: Failure?) {
        self = failure.map { .failure($0) } ?? .success(())
    }
}
