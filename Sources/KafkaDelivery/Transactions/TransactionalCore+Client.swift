internal import Synchronization

/// Which client is used, and what is done where one cannot be used any more.
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
    func ready() async throws(KafkaError) -> ProducerCore {
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
        let deadline = operationDeadline
        // An initialisation that was not waited for to its end could still reach the coordinator, and fence this one.
        if let unfinished = state.withLock({ $0.unfinished }) { await unfinished.wait(until: deadline) }
        let producer = try ProducerCore(
            configuration.effectiveProducer,
            properties: configuration.rdKafka(),
            logger: logger
        )
        guard let client = producer.client else { throw .closed() }
        state.withLock { $0.unfinished = client.end }
        let initialisation = Initialisation()
        let answer = await call(until: deadline, isCancellable: true) {
            Result<Void, RdKafkaClient.TransactionFailure>(failure: initialisation.run(client, until: deadline))
        }
        initialisation.abandon()
        switch answer {
        case .success:
            let isOpen = state.withLock { state in
                state.unfinished = nil
                if !state.turns.isClosed { state.producer = producer }
                return !state.turns.isClosed
            }
            if isOpen { return producer }
            end(producer)
            throw .closed()
        case .failure(let failure):
            end(producer)
            // Nothing was begun, so the next use can try again, unless another producer has taken over meanwhile.
            let isFenced = failure.error.kind == .fenced
            let error = (isFenced ? failure.error.recreating : failure.error)
                .explaining("the producer cannot be initialised", persistence: .notPersisted)
            if isFenced { fail(error) }
            throw error
        case nil:
            end(producer)
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
    func giveUpClient() {
        let producer = state.withLock { $0.producer.take() }
        if let producer { end(producer) }
    }

    /// Ends a client that is not to be used any more.
    private func end(_ producer: ProducerCore) {
        producer.beginClosing(within: .zero)
        state.withLock { state in
            state.ended.removeAll { $0.isOver }
            state.ended.append(producer.clientEnd)
        }
    }

    /// The client cannot go on, and only the application can know whether another should.
    func fail(_ error: KafkaError) {
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
                let answer = await call(until: deadline, isCancellable: true) {
                    Result { () throws(KafkaError) in
                        try consumer.usableClient().committed(partitions, until: deadline)
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
