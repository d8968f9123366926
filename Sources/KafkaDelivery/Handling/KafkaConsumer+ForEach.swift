internal import ServiceLifecycle

extension KafkaConsumer {
    /// How many deliveries are handled at a time, and what keeps its order.
    public enum Concurrency: Sendable, Hashable {
        /// One of each partition, in order.
        case perPartition
        /// One of each key, in order, and so many keys at a time. Messages without a key are independent of each other.
        case perKey(maximum: Int)
        /// So many at a time, in any order.
        case unordered(maximum: Int)
    }

    /// Handles every delivery until the consumer is closed or the task cancelled.
    ///
    /// ```swift
    /// try await consumer.forEach(
    ///     concurrency: .perKey(maximum: 64),
    ///     retry: .exponential(initial: .seconds(1), maximumAttempts: 5),
    ///     deadLetters: KafkaDeadLetters(producer: producer)
    /// ) { delivery in
    ///     try await charge(delivery)
    /// }
    /// ```
    ///
    /// Returning acknowledges. Throwing hands the message over again after the policy's delay, which holds back that
    /// partition (with `.perKey` that key, with `.unordered` nothing else) and leaves the others alone. When the policy
    /// gives up, the message goes to the dead letters, and is settled once that is confirmed; without dead letters the
    /// error ends the loop, and the message stays unsettled. What cannot be published waits for its next attempt at that as a
    /// message that failed does, and holds back no more; what never can, ``KafkaDeadLetters/onRefusal`` is for: its closure counts
    /// as a handler among so many at a time. With `.perKey` and `.unordered`, what is being published does not, up to 16 messages
    /// for each that may be handled. With ``KafkaRetryTopics`` messages wait for further attempts in topics of their own, which
    /// are subscribed to as well. Cancellation leaves what is being handled unsettled.
    ///
    /// The handler may close the consumer: that begins the end and does not wait for it, see ``close(within:)``. In a service
    /// of a `ServiceGroup`, a graceful shutdown closes the consumer within ``Configuration/closeTimeout``: what is
    /// being handled is finished and committed, and the loop ends. With `.perKey`, what waits behind another message of its key is
    /// left then, and comes again with what was handled behind it in its partition.
    ///
    /// - Parameters:
    ///   - concurrency: How many at a time. Less than 1 counts as 1.
    ///   - retry: What to do about errors. The default tries again for as long as it takes, with up to 30 seconds between.
    ///   - retryTopics: Where messages wait for further attempts that the policy has given up, before they go to the dead
    ///     letters; nil for straight to those. What is not worth retrying does not go there. Needs a policy
    ///     that gives up, `.none` for instance.
    ///   - deadLetters: Where messages go that are given up.
    ///   - deduplicator: Remembers what was handled: a message that comes again is acknowledged and not handled again.
    ///   - handler: Handles one delivery. May settle it itself; what it does not settle, its end does.
    /// - Throws: ``KafkaError`` where the consumer cannot go on, and the handler's error where a message is given up and
    ///   there are no dead letters. `invalidConfiguration` where the consumer's partitions are named and the retry topics' are not, where
    ///   there are retry topics and the policy never gives up, and where the name of a dead-letter or retry topic of a configured topic is not possible.
    public func forEach(
        concurrency: Concurrency = .perPartition,
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        retryTopics: KafkaRetryTopics? = nil,
        deadLetters: KafkaDeadLetters? = nil,
        deduplicating deduplicator: (any KafkaDeduplicator)? = nil,
        _ handler: @escaping @Sendable (Delivery) async throws -> Void
    ) async throws {
        try core.prepareHandling(retry, retryTopics, deadLetters)
        let given = handler
        let handler: @Sendable (Delivery) async throws -> Void
        if let deduplicator {
            handler = { delivery in
                _ = try await deduplicator.handleOnce(delivery.deduplicationKey) { try await given(delivery) }
            }
        } else {
            handler = given
        }
        let handling = FailureHandling(
            host: ConsumerHandling(core: core, retryTopics: retryTopics, deadLetters: deadLetters),
            retry: retry,
            holdsOthers: concurrency == .perPartition
        )
        switch concurrency {
        case .perPartition:
            try await forEachPartition { try await handling.run($0, handler) }
        case .perKey(let maximum):
            let dispatcher = LaneDispatcher(maximum: maximum, orderedByKey: true, handling: handling)
            try await untilShutdown { try await dispatcher.run(deliveries, handler) }
        case .unordered(let maximum):
            let dispatcher = LaneDispatcher(maximum: maximum, orderedByKey: false, handling: handling)
            try await untilShutdown { try await dispatcher.run(deliveries, handler) }
        }
    }

    /// Handles every delivery's value, decoded by a function of yours. What cannot be decoded is not worth retrying: it goes to
    /// the dead letters at once, with its bytes unchanged.
    ///
    /// ```swift
    /// try await consumer.forEach(as: Order.self, decodedBy: { try Order(serializedBytes: $0.data) }) { order, delivery in
    ///     try await charge(order)
    /// }
    /// ```
    ///
    /// A tombstone is given to the handler as nil where `type` is an optional one (`Order?.self`); where it is not, it cannot be
    /// decoded.
    ///
    /// - Parameters:
    ///   - type: What values are.
    ///   - decode: Makes one of a message's bytes. Called by several tasks at a time.
    ///   - concurrency: How many at a time.
    ///   - retry: What to do about errors.
    ///   - retryTopics: Where messages wait for further attempts that the policy has given up, before they go to the dead
    ///     letters; nil for straight to those. What is not worth retrying does not go there. Needs a policy
    ///     that gives up, `.none` for instance.
    ///   - deadLetters: Where messages go that are given up.
    ///   - deduplicator: Remembers what was handled.
    ///   - handler: Handles one value.
    /// - Throws: As ``forEach(concurrency:retry:retryTopics:deadLetters:deduplicating:_:)``.
    public func forEach<Value: SendableMetatype>(
        as type: Value.Type,
        decodedBy decode: @escaping @Sendable (KafkaBytes) throws -> Value,
        concurrency: Concurrency = .perPartition,
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        retryTopics: KafkaRetryTopics? = nil,
        deadLetters: KafkaDeadLetters? = nil,
        deduplicating deduplicator: (any KafkaDeduplicator)? = nil,
        _ handler: @escaping @Sendable (Value, Delivery) async throws -> Void
    ) async throws {
        try await forEach(
            concurrency: concurrency,
            retry: retry,
            retryTopics: retryTopics,
            deadLetters: deadLetters,
            deduplicating: deduplicator
        ) { delivery in
            try await handler(delivery.decoded(as: type, by: decode), delivery)
        }
    }

    /// Handles deliveries of one partition in batches, one batch of each partition at a time.
    ///
    /// The handler may settle deliveries one by one, and what it has not settled when it ends is settled as a whole:
    /// returning acknowledges it, throwing hands it over again in order, each by the policy. Those that are given up are published
    /// one after the other; where that fails for one, the rest waits behind it. What waited in a batch when its partition was sought
    /// elsewhere, or given up, is not given to the handler.
    ///
    /// - Parameters:
    ///   - maximumCount: How many deliveries a batch has at most, 1 or more.
    ///   - maximumWait: How long the first of a batch waits for others.
    ///   - retry: What to do about errors.
    ///   - retryTopics: Where messages wait for further attempts that the policy has given up, before they go to the dead
    ///     letters; nil for straight to those. What is not worth retrying does not go there. Needs a policy
    ///     that gives up, `.none` for instance.
    ///   - deadLetters: Where messages go that are given up.
    ///   - deduplicator: Remembers what was handled: of a batch, what comes again is acknowledged with it and not given to the
    ///     handler. The keys of a batch are remembered when its handler has returned, and none when it throws.
    ///   - handler: Handles one batch.
    /// - Throws: As ``forEach(concurrency:retry:retryTopics:deadLetters:deduplicating:_:)``.
    public func forEachBatch(
        maximumCount: Int = 1_000,
        maximumWait: Duration = .milliseconds(50),
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        retryTopics: KafkaRetryTopics? = nil,
        deadLetters: KafkaDeadLetters? = nil,
        deduplicating deduplicator: (any KafkaDeduplicator)? = nil,
        _ handler: @escaping @Sendable ([Delivery]) async throws -> Void
    ) async throws {
        try core.prepareHandling(retry, retryTopics, deadLetters)
        let given = handler
        let handler: @Sendable ([Delivery]) async throws -> Void
        if let deduplicator {
            handler = { try await deduplicator.handleOnce($0, given) }
        } else {
            handler = given
        }
        let host = ConsumerHandling(core: core, retryTopics: retryTopics, deadLetters: deadLetters)
        let handling = FailureHandling(host: host, retry: retry, holdsOthers: true)
        try await forEachPartition { partition in
            var iterator = partition.makeAsyncIterator()
            while let first = try await iterator.next() {
                if host.holdsBack(first) { continue }
                if handling.isGivenUp(first) {
                    _ = try await handling.run(first) { try await handler([$0]) }
                    continue
                }
                var batch = [first]
                let deadline = ContinuousClock.now.advanced(by: maximumWait.asTimeout)
                // While messages are on trial there will not be a second one.
                while batch.count < maximumCount, !partition.ownership.reader.isOneAtATime,
                    let next = try await iterator.next(until: deadline)
                {
                    if host.holdsBack(next) { break }
                    if handling.isGivenUp(next) {
                        // It comes first behind the batch, or behind what comes again of that.
                        _ = next.postpone(for: .zero, holdingOthers: true)
                        break
                    }
                    batch.append(next)
                }
                // What was received before a seek of the partition is read anew where that leads there, and passed over where not: the
                // batch is what came since.
                if !first.takesVerdict { batch.removeAll { !$0.takesVerdict } }
                // Whether one comes again, and so all behind it.
                var isHeld = false
                do {
                    if !batch.isEmpty { try await handler(batch) }
                    for delivery in batch where !delivery.hasVerdict { delivery.acknowledge() }
                } catch {
                    if case .endLoop(let reason) = error as? HandlingStop { throw reason }
                    for delivery in batch {
                        if delivery.hasVerdict {
                            isHeld = isHeld || delivery.isRejected
                            continue
                        }
                        // Behind one that comes again none is given up: an inbox would have its offset behind both.
                        switch try handling.failed(delivery, error) {
                        case .ended(let outcome): isHeld = isHeld || outcome == .backsOff
                        case .givenUp(let givenUp) where isHeld: handling.putBack(givenUp, delivery)
                        case .givenUp(let givenUp): isHeld = try await handling.finish(givenUp, delivery) == .backsOff
                        }
                    }
                }
            }
        }
    }

    /// Runs a task for each partition.
    private func forEachPartition(_ body: @escaping @Sendable (Partition) async throws -> Void) async throws {
        let partitions = self.partitions
        let core = core
        try await untilShutdown {
            try await withLoopAndTasks { start in
                for try await partition in partitions {
                    start { try await HandlerTask.run(core) { try await body(partition) } }
                }
            }
        }
    }

    /// Runs a loop, and closes the consumer when the service that it is part of is shut down: then the loop ends.
    func untilShutdown<Result>(_ body: () async throws -> Result) async rethrows -> Result {
        try await withGracefulShutdownHandler {
            try await body()
        } onGracefulShutdown: { [core] in
            core.beginClosing(within: core.configuration.closeTimeout)
        }
    }
}

extension KafkaConsumer.Delivery {
    /// The value, decoded by a function of yours. A tombstone is nil where `type` is an optional one, or another whose values can
    /// be written as `nil` (`ExpressibleByNilLiteral`).
    ///
    /// - Throws: ``KafkaDecodingError``, which no retry policy finds worth another attempt.
    public func decoded<Value>(
        as type: Value.Type,
        by decode: (KafkaBytes) throws -> Value
    ) throws(KafkaDecodingError) -> Value {
        guard let value else {
            if let none = (type as? any ExpressibleByNilLiteral.Type)?.init(nilLiteral: ()) as? Value { return none }
            throw KafkaDecodingError(type, underlying: nil)
        }
        do {
            return try decode(value)
        } catch {
            throw KafkaDecodingError(type, underlying: error)
        }
    }
}
