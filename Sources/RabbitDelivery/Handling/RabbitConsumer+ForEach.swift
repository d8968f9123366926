internal import ServiceLifecycle

extension RabbitConsumer {
    /// How many deliveries are handled at a time, and what keeps its order.
    public enum Concurrency: Sendable {
        /// One, in the queue's order: a message that failed holds back what follows it.
        case perQueue
        /// One of each key, in order, and so many keys at a time. Messages whose key is nil are independent of each other. What the
        /// key is, the application says: AMQP has none, and the routing key is one of few, as a rule.
        case perKey(maximum: Int, key: @Sendable (Delivery) -> String?)
        /// So many at a time, in any order.
        case unordered(maximum: Int)
    }

    /// Handles every delivery until the consumer is closed or the task cancelled.
    ///
    /// ```swift
    /// try await consumer.forEach(
    ///     concurrency: .unordered(maximum: 64),
    ///     retry: .exponential(initial: .seconds(1), maximum: .seconds(2), maximumAttempts: 3),
    ///     deadLetters: .publish(to: "orders-dlx", through: publisher)
    /// ) { delivery in
    ///     try await charge(delivery)
    /// }
    /// ```
    ///
    /// Returning acknowledges. Throwing hands the message over again after the policy's delay; meanwhile it keeps its place in
    /// ``Configuration/prefetch``, and holds back its queue or its key, where these keep their order. When the policy gives up, the
    /// message goes to the dead letters, and is settled once that is confirmed; without dead letters the error ends the loop, and
    /// the message stays unsettled. With ``RabbitRetryQueues`` messages wait for further attempts in queues of their own.
    /// Cancellation leaves what is being handled unsettled. An order is kept as far as the broker keeps it: among several consumers
    /// of a queue there is none, unless it has a single active one.
    ///
    /// In a service of a `ServiceGroup`, a graceful shutdown closes the consumer within ``Configuration/closeTimeout``: what is being
    /// handled is finished and acknowledged, and the loop ends.
    ///
    /// - Parameters:
    ///   - concurrency: How many at a time. Less than 1 counts as 1.
    ///   - retry: What to do about errors. The default tries again for as long as it takes, with up to 30 seconds between.
    ///   - retryQueues: Where messages wait for further attempts that the policy has given up in place; needs a policy that gives up,
    ///     `.none` for instance.
    ///   - deadLetters: Where messages go that are given up.
    ///   - handler: Handles one delivery. May settle it itself; what it does not settle, its end does.
    /// - Throws: ``RabbitError`` where the consumer cannot go on, or `invalidConfiguration` where retry queues or dead letters cannot
    ///   work as they are given; and the handler's error where a message is given up and there are no dead letters.
    public func forEach(
        concurrency: Concurrency = .perQueue,
        retry: RetryPolicy = .exponential(maximumAttempts: nil),
        retryQueues: RabbitRetryQueues? = nil,
        deadLetters: RabbitDeadLetters? = nil,
        _ handler: @escaping @Sendable (Delivery) async throws -> Void
    ) async throws {
        let queue = core.configuration.queue
        if case .reject = deadLetters?.way, let fault = core.configuration.topology.rejectionFault(of: queue) {
            throw fault
        }
        if let fault = retryQueues?.fault(for: queue, retry) { throw fault }
        try core.start(retryQueues?.topology(for: queue) ?? RabbitTopology())

        var isInOrder = false
        if case .perQueue = concurrency { isInOrder = true }
        let handling = FailureHandling(
            host: RabbitHandling(
                core: core,
                retryQueues: retryQueues,
                deadLetters: deadLetters,
                attemptsInPlace: retry.maximumAttempts
            ),
            retry: retry,
            holdsOthers: isInOrder
        )
        try await withGracefulShutdownHandler {
            switch concurrency {
            case .perQueue: try await handling.run(deliveries, handler)
            case .perKey(let maximum, let key):
                let dispatcher = LaneDispatcher(maximum: maximum, orderedByKey: true, handling: handling)
                try await dispatcher.run(KeyedDeliveries(base: deliveries, key: key), handler)
            case .unordered(let maximum):
                let dispatcher = LaneDispatcher(maximum: maximum, orderedByKey: false, handling: handling)
                try await dispatcher.run(deliveries, handler)
            }
        } onGracefulShutdown: { [core] in
            core.beginClosing(within: core.configuration.closeTimeout)
        }
    }
}

/// Deliveries that know which order they belong to.
struct KeyedDeliveries: AsyncSequence, Sendable {
    typealias Element = RabbitConsumer.Delivery

    let base: RabbitConsumer.Deliveries
    let key: @Sendable (RabbitConsumer.Delivery) -> String?

    struct AsyncIterator: AsyncIteratorProtocol {
        var base: RabbitConsumer.Deliveries.AsyncIterator
        let key: @Sendable (RabbitConsumer.Delivery) -> String?

        mutating func next() async throws -> RabbitConsumer.Delivery? {
            guard var delivery = try await base.next() else { return nil }
            delivery.orderKey = key(delivery)
            return delivery
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(base: base.makeAsyncIterator(), key: key) }
}
