internal import DequeModule
internal import Logging
internal import Synchronization

/// The shell around a transactional producer: whose turn it is, the client that is used, and the calls that begin and end
/// a transaction.
///
/// A client is made and initialised on first use, and given up for another where nobody can say what state its
/// transaction is in. Initialising ends what an earlier client with the same transactional id left open.
final class TransactionalCore: Sendable {
    typealias Instant = ContinuousClock.Instant

    private struct State {
        var turns = TransactionTurns()
        /// The client; nil where the next turn has to make one.
        var producer: ProducerCore?
        /// Why there will be none until somebody asks for it.
        var failure: KafkaError?
        var scope: TransactionScope?
        /// Ends the wait for the call under way.
        var abandonCall: (@Sendable () -> Void)?
        /// Deliveries of transactions of which nobody knows whether they were committed.
        var doubtful: [TransactionClaims] = []
    }

    let configuration: KafkaTransactionalProducer.Configuration
    let logger: Logger
    // Whoever has a turn, waits for one, or closes, meets here. Nothing is called or resumed while it is held.
    private let state = Mutex(State())

    init(_ configuration: KafkaTransactionalProducer.Configuration, logger: Logger) throws(KafkaError) {
        // What is wrong with the settings shows here, and not when the first transaction begins.
        _ = try configuration.rdKafka()
        guard configuration.closeTimeout >= .zero else {
            throw .invalidConfiguration("closeTimeout is \(configuration.closeTimeout), less than zero")
        }
        self.configuration = configuration
        self.logger = logger
    }

    private var operationDeadline: Instant { .now.advanced(by: configuration.operationTimeout.asTimeout) }
}

// MARK: Turns

extension TransactionalCore {
    private func takeTurn() async throws(KafkaError) {
        if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
        let id = WaiterID.next()
        let error: KafkaError? = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let admission = state.withLock {
                    $0.turns.take(TransactionTurns.Waiter(id: id, continuation: continuation))
                }
                switch admission {
                case .granted: continuation.resume(returning: nil)
                case .refused(let error): continuation.resume(returning: error)
                // Cancelled before the waiter was there: its handler has run already and found nobody.
                case .waits: if Task.isCancelled { cancelWait(id) }
                }
            }
        } onCancel: {
            cancelWait(id)
        }
        if let error { throw error }
    }

    private func cancelWait(_ id: UInt64) {
        let waiter = state.withLock { $0.turns.cancel(id) }
        waiter?.continuation.resume(returning: .cancelled(persistence: .notPersisted))
    }

    private func endTurn() {
        let (next, idle) = state.withLock { state in
            state.scope = nil
            return state.turns.giveBack()
        }
        next?.continuation.resume(returning: nil)
        for wait in idle { wait.resume(true) }
    }

    /// Runs a call of librdkafka's on a thread of its own; nil where it was not waited for.
    private func call<Value: Sendable>(
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
            onStart: { abandon in state.withLock { $0.abandonCall = abandon } },
            body
        )
        state.withLock { $0.abandonCall = nil }
        return value
    }
}

// MARK: A client to use

extension TransactionalCore {
    /// Makes sure that the producer is initialised, and settles what was in doubt.
    func initialize() async throws(KafkaError) {
        try await takeTurn()
        defer { endTurn() }
        _ = try await ready()
    }

    /// Makes a new client in place of one that failed.
    func recreate() async throws(KafkaError) {
        try await takeTurn()
        defer { endTurn() }
        giveUpClient()
        state.withLock { $0.failure = nil }
        _ = try await ready()
    }

    /// The client, initialised.
    private func ready() async throws(KafkaError) -> ProducerCore {
        let (current, failure) = state.withLock { ($0.producer, $0.failure) }
        if let failure { throw failure }
        let producer: ProducerCore
        if let current {
            producer = current
        } else {
            producer = try await makeClient()
        }
        try await resolveDoubts()
        return producer
    }

    private func makeClient() async throws(KafkaError) -> ProducerCore {
        let producer = try ProducerCore(
            configuration.effectiveProducer,
            properties: configuration.rdKafka(),
            logger: logger
        )
        let client = producer.client
        let deadline = operationDeadline
        let answer = await call(until: deadline, isCancellable: true) {
            while true {
                let failure = client.initTransactions(within: deadline.remaining)
                guard let failure, failure.remedy == .repeatCall, deadline.remaining > .zero else {
                    return Result<Void, RdKafkaClient.TransactionFailure>(failure: failure)
                }
                RdKafkaClient.pause()
            }
        }
        switch answer {
        case .success:
            let isOpen = state.withLock { state in
                if !state.turns.isClosed { state.producer = producer }
                return !state.turns.isClosed
            }
            if isOpen { return producer }
            producer.beginClosing(within: .zero)
            throw .closed()
        case .failure(let failure):
            producer.beginClosing(within: .zero)
            // Nothing was begun, so the next use can try again, unless somebody else has taken over meanwhile.
            if failure.error.kind == .fenced { fail(failure.error) }
            throw failure.error.explaining("the producer cannot be initialised", persistence: .notPersisted)
        case nil:
            producer.beginClosing(within: .zero)
            if state.withLock({ $0.turns.isClosed }) { throw .closed() }
            if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
            throw KafkaError(
                .timedOut,
                persistence: .notPersisted,
                recovery: .retry,
                reason: "the producer was not initialised within \(configuration.operationTimeout)"
            )
        }
    }

    /// Lets go of the client: the next turn makes another, which ends what this one left open.
    private func giveUpClient() {
        let producer = state.withLock { $0.producer.take() }
        producer?.beginClosing(within: .zero)
    }

    /// The client cannot go on, and nobody but the application can know whether another should.
    private func fail(_ error: KafkaError) {
        state.withLock { $0.failure = $0.failure ?? error }
        giveUpClient()
    }

    /// Asks the groups of deliveries whose transaction's outcome is unknown what they have committed. A new client was
    /// initialised since, so that the outcome is fixed.
    private func resolveDoubts() async throws(KafkaError) {
        while let claims = state.withLock({ $0.doubtful.last }) {
            for consumer in claims.consumers {
                let partitions = claims.currentPartitions(of: consumer)
                guard !partitions.isEmpty else { continue }
                let deadline = operationDeadline
                let client = consumer.client
                let answer = await call(until: deadline, isCancellable: true) {
                    Result { () throws(KafkaError) in
                        try client.committed(partitions, until: deadline)
                    }
                }
                guard let answer else {
                    throw Task.isCancelled
                        ? .cancelled(persistence: .notPersisted)
                        : KafkaError(
                            .timedOut,
                            persistence: .notPersisted,
                            recovery: .retry,
                            reason: "the group did not say whether an earlier transaction was committed"
                        )
                }
                claims.resolve(consumer, committed: try answer.get())
            }
            state.withLock { _ = $0.doubtful.popLast() }
        }
    }
}

// MARK: A transaction

extension TransactionalCore {
    /// Begins a transaction, when it is the caller's turn.
    func begin() async throws(KafkaError) -> TransactionScope {
        try await takeTurn()
        do throws(KafkaError) {
            let producer = try await ready()
            let client = producer.client
            let answer = await call(until: operationDeadline) { Result<Void, _>(failure: client.beginTransaction()) }
            guard let answer else {
                giveUpClient()
                throw KafkaError(
                    .timedOut,
                    persistence: .notPersisted,
                    recovery: .retry,
                    reason: "the transaction did not begin within \(configuration.operationTimeout)"
                )
            }
            if case .failure(let failure) = answer { throw notBegun(failure) }
            let scope = TransactionScope(producer)
            let isOpen = state.withLock { state in
                state.scope = scope
                return !state.turns.isClosed
            }
            guard isOpen else { throw .closed() }
            return scope
        } catch {
            endTurn()
            throw error
        }
    }

    private func notBegun(_ failure: RdKafkaClient.TransactionFailure) -> KafkaError {
        let error = failure.error.explaining("no transaction can begin", persistence: .notPersisted)
        if failure.remedy == .recreate {
            fail(error.recreating)
            return error.recreating
        }
        giveUpClient()
        return error
    }

    /// Ends a transaction whose code threw.
    func rollBack(_ scope: TransactionScope) async {
        defer { endTurn() }
        guard scope.beginEnding() else { return }
        await abort(scope, by: operationDeadline)
        scope.claims.reject()
    }

    /// Commits a transaction.
    ///
    /// - Throws: Why it was aborted instead, or that nobody knows.
    func commit(_ scope: TransactionScope) async throws(KafkaError) {
        defer { endTurn() }
        guard scope.beginEnding() else { throw scope.endReason }
        let deadline = operationDeadline
        var claims = scope.claims
        do throws(KafkaError) {
            try await prepare(scope, &claims, by: deadline)
        } catch {
            if let fatal = scope.core.client.fatalError {
                fail(fatal)
                claims.reject()
                throw fatal.explaining("the transaction was not committed", persistence: .notPersisted)
            }
            await abort(scope, by: operationDeadline)
            claims.reject()
            throw error.abortedTransaction
        }
        let end = TransactionEnd(client: scope.core.client, claims: claims, deadline: deadline)
        let answer = await call(until: deadline) { end.run() }
        try await conclude(scope, claims, answer ?? end.abandon())
    }

    /// Everything that comes before the commit and can still be undone.
    private func prepare(
        _ scope: TransactionScope,
        _ claims: inout TransactionClaims,
        by deadline: Instant
    ) async throws(KafkaError) {
        await scope.drain()
        claims = scope.claims
        if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
        let age = scope.begun.duration(to: .now)
        guard age < configuration.transactionTimeout else {
            throw KafkaError(
                .timedOut,
                persistence: .notPersisted,
                recovery: .retry,
                reason: "it took \(age), longer than transactionTimeout, and the coordinator aborts such transactions"
            )
        }
        try await flush(scope, by: deadline)
        if scope.core.client.fatalError != nil { throw .transactionEnded }
        // Messages of a transaction that has failed are let go of; librdkafka says why when it is asked to commit.
        if let failure = scope.sendFailure, !failure.isOfFailedTransaction { throw failure }
        try claims.fixTargets()
        for consumer in claims.consumers {
            let wait = TimedWait<Bool>()
            consumer.awaitCommitUnderWay(wait)
            guard await wait.value(until: deadline) != nil else {
                throw KafkaError(
                    .timedOut,
                    persistence: .notPersisted,
                    recovery: .retry,
                    reason: "an earlier commit of the group is still under way"
                )
            }
        }
    }

    /// Waits until every message of the transaction has its outcome.
    private func flush(_ scope: TransactionScope, by deadline: Instant) async throws(KafkaError) {
        let isFlushed = await scope.core.flush(until: deadline)
        if isFlushed { return }
        if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
        throw KafkaError(
            .timedOut,
            persistence: .notPersisted,
            recovery: .retry,
            reason: "messages of it were not confirmed within \(configuration.operationTimeout)"
        )
    }

    private func conclude(
        _ scope: TransactionScope,
        _ claims: TransactionClaims,
        _ outcome: TransactionEnd.Outcome
    ) async throws(KafkaError) {
        switch outcome {
        case .committed:
            claims.settle()
        case .toBeAborted(let error, let isCommitSent):
            let isAborted = await abort(scope, by: operationDeadline)
            guard isAborted || !isCommitSent else { throw doubt(claims, error) }
            claims.reject()
            throw error.abortedTransaction
        case .notCommitted(let error):
            giveUpClient()
            claims.reject()
            throw error.abortedTransaction
        case .failed(let error, let isCommitSent):
            let error = error.recreating
            fail(error)
            if isCommitSent {
                // An answer that was lost may have said that it is committed.
                if !claims.isEmpty { state.withLock { $0.doubtful.append(claims) } }
                throw error.explaining("the transaction may be committed", persistence: .possiblyPersisted)
            }
            claims.reject()
            throw error.explaining("the transaction was not committed", persistence: .notPersisted)
        case .unknown(let error):
            giveUpClient()
            throw doubt(claims, error)
        }
    }

    /// Nobody knows what became of a transaction. Its deliveries wait until somebody does.
    private func doubt(_ claims: TransactionClaims, _ error: KafkaError) -> KafkaError {
        if !claims.isEmpty { state.withLock { $0.doubtful.append(claims) } }
        logger.warning("Nobody knows whether a transaction was committed", metadata: ["kafka_error": "\(error)"])
        return KafkaError(
            .transactionOutcomeUnknown,
            persistence: .possiblyPersisted,
            recovery: .retry,
            reason: "the transaction was committed or aborted, and no answer says which: \(error.reason)",
            code: error.code
        )
    }

    /// Aborts a transaction. Where that cannot be done in time the client is given up, and initialising the next one does
    /// it.
    ///
    /// - Returns: Whether it is aborted.
    @discardableResult
    private func abort(_ scope: TransactionScope, by deadline: Instant) async -> Bool {
        await scope.drain()
        let client = scope.core.client
        let answer = await call(until: deadline) {
            while true {
                let failure = client.abortTransaction(within: deadline.remaining)
                guard let failure, failure.remedy == .repeatCall, deadline.remaining > .zero else {
                    return Result<Void, RdKafkaClient.TransactionFailure>(failure: failure)
                }
                RdKafkaClient.pause()
            }
        }
        switch answer {
        case .success:
            return true
        case .failure(let failure) where failure.remedy == .recreate:
            fail(failure.error.recreating)
        case .failure, nil:
            giveUpClient()
        }
        logger.info("A transaction was given up without an answer", metadata: ["kafka_answer": "\(answer as Any)"])
        return false
    }
}

// MARK: The end

extension TransactionalCore {
    func close(within timeout: Duration) async {
        let deadline = Instant.now.advanced(by: timeout.asTimeout)
        let (waiters, scope) = state.withLock { ($0.turns.close(), $0.scope) }
        for waiter in waiters { waiter.continuation.resume(returning: .closed()) }
        if let scope, scope.beginEnding(.closed()) {
            await abort(scope, by: deadline)
            scope.claims.reject()
        } else {
            // A transaction that is being committed or aborted goes on until the deadline.
            let wait = TimedWait<Bool>()
            if state.withLock({ $0.turns.waitUntilIdle(wait) }), await wait.value(until: deadline) == nil {
                state.withLock { $0.abandonCall }?()
            }
        }
        let producer = state.withLock { $0.producer.take() }
        await producer?.close(within: .zero)
    }

    /// Ends without waiting, for a producer that was dropped: it has no transaction.
    func abandon() {
        giveUpClient()
    }
}

extension ContinuousClock.Instant {
    /// How long it is until then, at least zero.
    var remaining: Duration {
        max(.zero, ContinuousClock.now.duration(to: self))
    }
}

extension Result where Success == Void {
    fileprivate init(failure: Failure?) {
        self = failure.map { .failure($0) } ?? .success(())
    }
}
