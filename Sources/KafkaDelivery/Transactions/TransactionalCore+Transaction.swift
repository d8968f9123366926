internal import Logging
internal import Synchronization

/// A transaction, from its beginning to its end.
extension TransactionalCore {
    /// Begins a transaction, when it is the caller's turn.
    func begin() async throws(KafkaError) -> TransactionScope {
        try await takeTurn()
        do throws(KafkaError) {
            let producer = try await ready()
            guard let client = producer.client else { throw .closed() }
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
    ///
    /// - Returns: What to throw: the code's error, but where that says that the transaction can be done again and the producer
    ///   turns out to be unable to, or that it is fenced and more is known of that here.
    func rollBack(_ scope: TransactionScope, _ error: any Error) async -> any Error {
        defer { endTurn() }
        guard scope.beginEnding() else { return error }
        let abortion = await abort(scope, by: operationDeadline)
        scope.claims.reject()
        scope.conclude(.aborted)
        guard case .failed = abortion, let cause = error as? KafkaError,
            cause.recovery == .retry || cause.recovery == .abortTransaction || cause.kind == .fenced
        else { return error }
        return abortion.error(instead: cause)
    }

    /// Commits a transaction.
    ///
    /// - Throws: Why it was aborted instead, or that it is unknown.
    func commit(_ scope: TransactionScope) async throws(KafkaError) {
        defer { endTurn() }
        guard scope.beginEnding() else { throw scope.endReason }
        do throws(KafkaError) {
            try await end(scope)
            scope.conclude(.committed)
        } catch {
            scope.conclude(error.persistence == .possiblyPersisted ? .unknown : .aborted)
            throw error
        }
    }

    private func end(_ scope: TransactionScope) async throws(KafkaError) {
        var claims = scope.claims
        do throws(KafkaError) {
            try await prepare(scope, &claims, by: operationDeadline)
        } catch {
            if let fatal = scope.core.fatalError {
                let fatal = lasting(fatal, scope)
                fail(fatal)
                claims.reject()
                throw fatal.explaining("the transaction was not committed", persistence: .notPersisted)
            }
            // The coordinator may have been quicker, and have fenced the producer: then that is what there is to say.
            let abortion = await abort(scope, by: operationDeadline)
            claims.reject()
            throw abortion.error(instead: error)
        }
        guard let client = scope.core.client else {
            claims.reject()
            throw .closed()
        }
        let deadline = operationDeadline
        let end = TransactionEnd(
            client: client,
            claims: claims,
            marks: scope.marks,
            deadline: deadline,
            leastTime: min(.seconds(1), configuration.operationTimeout / 10)
        )
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
        try checkInTime(scope)
        try await flush(scope, by: deadline)
        if scope.core.fatalError != nil { throw .transactionEnded }
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
        // All of that took its time.
        try checkInTime(scope)
    }

    /// Whether the transaction may still be committed: its task is not cancelled, and the coordinator has not aborted it for its age.
    private func checkInTime(_ scope: TransactionScope) throws(KafkaError) {
        if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
        guard scope.age < configuration.transactionTimeout else {
            throw KafkaError(
                .timedOut,
                persistence: .notPersisted,
                recovery: .retry,
                reason: "it took longer than transactionTimeout (\(configuration.transactionTimeout)), and the "
                    + "coordinator aborts such transactions"
            )
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
            let abortion = await abort(scope, by: operationDeadline)
            switch (abortion, isCommitSent) {
            case (.aborted, _), (_, false):
                claims.reject()
                throw abortion.error(instead: error)
            case (.unanswered, true): throw doubt(claims, error)
            case (.failed, true): throw doubt(claims, error, recovery: .recreateClient)
            }
        case .notCommitted(let error):
            giveUpClient()
            claims.reject()
            throw error.abortedTransaction
        case .failed(let error, let isCommitSent):
            let error = lasting(error, scope)
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

    /// No answer says what became of a transaction. Its deliveries wait until that is found out.
    private func doubt(
        _ claims: TransactionClaims,
        _ error: KafkaError,
        recovery: KafkaError.Recovery = .retry
    ) -> KafkaError {
        if !claims.isEmpty { state.withLock { $0.doubtful.append(claims) } }
        logger.warning("It is unknown whether a transaction was committed", metadata: ["kafka_error": "\(error)"])
        return KafkaError(
            .transactionOutcomeUnknown,
            persistence: .possiblyPersisted,
            recovery: recovery,
            reason: "the transaction was committed or aborted, and no answer says which: \(error.reason)",
            code: error.code
        )
    }

    /// What a client says from now on that cannot go on.
    ///
    /// The coordinator fences a producer whose transaction it has aborted because of its age as it does one that another
    /// took over from, and librdkafka 2.0.2 has one error for both. So it is left to the application to come back.
    private func lasting(_ error: KafkaError, _ scope: TransactionScope) -> KafkaError {
        guard error.kind == .fenced, scope.age >= configuration.transactionTimeout else { return error.recreating }
        return KafkaError(
            .fenced,
            recovery: .recreateClient,
            reason: "the coordinator aborted a transaction that took longer than transactionTimeout "
                + "(\(configuration.transactionTimeout)), or another producer with this transactional id has taken over",
            code: error.code
        )
    }

    /// What aborting a transaction came to.
    enum Abortion {
        case aborted
        /// The client was given up: initialising the next one aborts.
        case unanswered
        /// The client cannot go on, and says this from now on.
        case failed(KafkaError)

        /// The error of a transaction that was not committed.
        ///
        /// - Parameter cause: Why it was to be aborted.
        fileprivate func error(instead cause: KafkaError) -> KafkaError {
            switch self {
            case .failed(let error):
                error.explaining("the transaction was not committed", persistence: .notPersisted)
            case .aborted, .unanswered: cause.abortedTransaction
            }
        }
    }

    /// Aborts a transaction. Where that cannot be done in time the client is given up, and initialising the next one does
    /// it.
    @discardableResult
    func abort(_ scope: TransactionScope, by deadline: Instant) async -> Abortion {
        await scope.drain()
        guard let client = scope.core.client else {
            giveUpClient()
            return .unanswered
        }
        let hadFailed = client.fatalError != nil
        let answer = await call(until: deadline) {
            while true {
                let failure = client.abortTransaction(within: deadline.remaining)
                guard let failure, failure.remedy == .repeatCall, deadline.remaining > .zero else {
                    return Result<Void, RdKafkaClient.TransactionFailure>(failure: failure)
                }
                RdKafkaClient.pause()
            }
        }
        if case .success = answer {
            if !Quirks.current.sequencesSurviveAnAbortWithFailures, !scope.leavesSequencesWhole { giveUpClient() }
            return .aborted
        }
        logger.info("A transaction was given up without an answer", metadata: ["kafka_answer": "\(answer as Any)"])
        // A coordinator refuses to abort what it never heard of, or has ended since. That is fatal to the client, and says
        // nothing against the next one; what was fatal before the abort does, and so does being fenced.
        guard case .failure(let failure) = answer, failure.remedy == .recreate,
            hadFailed || failure.error.kind == .fenced
        else {
            giveUpClient()
            return .unanswered
        }
        let error = lasting(failure.error, scope)
        fail(error)
        return .failed(error)
    }
}
