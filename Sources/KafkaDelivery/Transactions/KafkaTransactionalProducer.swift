public import Logging
public import ServiceLifecycle

/// Sends messages in transactions: readers of committed messages see all of one, or nothing.
///
/// ```swift
/// let producer = try KafkaTransactionalProducer(
///     .init(transactionalID: "billing-0", bootstrapServers: ["localhost:9092"])
/// )
/// try await producer.withTransaction { transaction in
///     try await transaction.enqueue(KafkaMessage(topic: "invoices", key: "42", value: invoice))
///     try await transaction.enqueue(KafkaMessage(topic: "ledger", key: "42", value: entry))
///     try transaction.acknowledge(deliveries, from: consumer)      // consumed with it, or not at all
/// }
/// ```
///
/// Returning commits; throwing and cancellation abort. The producer initialises itself when the first transaction begins,
/// or in ``initialize()``. It has one transaction at a time: other tasks wait for their turn. For more at the same time
/// use more producers, each with its own ``Configuration/transactionalID``.
///
/// Transactions are KIP-98, offsets in them KIP-447; librdkafka's functions are `rd_kafka_init_transactions` and its
/// neighbours, which block and run on threads of the library's own.
public final class KafkaTransactionalProducer: Service, Sendable {
    let core: TransactionalCore

    /// The producers whose transactions the current task is inside of.
    @TaskLocal private static var surrounding: [ObjectIdentifier] = []

    /// Makes a producer. It connects when it is first used.
    ///
    /// - Parameters:
    ///   - configuration: The settings.
    ///   - logger: Where librdkafka's and the producer's log lines go.
    /// - Throws: ``KafkaError`` of kind `invalidConfiguration`, naming the setting.
    public init(
        _ configuration: Configuration,
        logger: Logger = Logger(label: "KafkaDelivery")
    ) throws(KafkaError) {
        self.core = try TransactionalCore(configuration, logger: logger)
    }

    deinit {
        core.abandon()
    }

    /// Initialises the producer now rather than with the first transaction (`rd_kafka_init_transactions`): whatever an
    /// earlier producer with the same transactional id left open is ended, and that producer is fenced. Does nothing where
    /// it is initialised.
    ///
    /// Also finds out what became of transactions whose outcome is unknown, see ``withTransaction(_:)``.
    ///
    /// - Throws: ``KafkaError``: `timedOut` or `brokersUnreachable` after ``Configuration/operationTimeout``, what the broker
    ///   refuses, `fenced` or `fatal` where ``recreate()`` is needed, `cancelled`, `closed`.
    public func initialize() async throws(KafkaError) {
        try refuseInside()
        try await core.initialize()
    }

    /// Runs code inside of a transaction, and commits it when the code returns.
    ///
    /// The transaction is aborted when the code throws, when the task is cancelled before the commit begins, when a message
    /// of it fails, when a consumed partition went to another member of its group before the commit, and when the producer
    /// is closed. Then the deliveries that were put into it are handed out again, in order and before anything later of
    /// their partitions. Errors that pass are retried inside, for at most ``Configuration/operationTimeout`` each.
    ///
    /// Inside of the code neither this nor another function of the same producer that needs a transaction of its own can be
    /// used. From other tasks it can; they wait for their turn, in order.
    ///
    /// - Parameter body: What to do. The transaction must not be used after it has returned.
    /// - Returns: What `body` returns, once the transaction is committed.
    /// - Throws: What `body` throws; or ``KafkaError``:
    ///   with `notPersisted` where the transaction was aborted, and `recovery` says whether it is worth doing again;
    ///   of kind `transactionOutcomeUnknown` with `possiblyPersisted` where the commit was not answered in time, or with an
    ///   error that does not say what became of it: it was committed or aborted as a whole. The producer is initialised anew
    ///   before it is used again, by ``recreate()`` where `recovery` says so, which fixes the outcome; deliveries that were
    ///   part of the transaction are then settled or handed out again by what their group says is committed;
    ///   of kind `fenced` where another producer with the same transactional id has taken over or the coordinator has ended the
    ///   transaction because it took longer than ``Configuration/transactionTimeout``, or `fatal`: then every use throws that
    ///   until ``recreate()``.
    @discardableResult
    public func withTransaction<Result>(
        _ body: (Transaction) async throws -> sending Result
    ) async throws -> sending Result {
        try refuseInside()
        let scope = try await core.begin()
        // What `body` returns is its caller's alone; withValue does not say so of what it passes on.
        nonisolated(unsafe) let result: Result
        do {
            let surrounding = Self.surrounding + [ObjectIdentifier(self)]
            result = try await Self.$surrounding.withValue(surrounding) {
                try await body(Transaction(scope: scope))
            }
        } catch {
            throw await core.rollBack(scope, error)
        }
        try await core.commit(scope)
        return result
    }

    /// Makes this producer usable again after it was fenced or failed for good: with a new client, initialised.
    ///
    /// Initialising fences the producer that uses the transactional id now. So after `fenced` call it only where you know that the
    /// other one is to give way.
    ///
    /// - Throws: As ``initialize()``.
    public func recreate() async throws(KafkaError) {
        try refuseInside()
        try await core.recreate()
    }

    /// Aborts the transaction in progress, refuses others, and ends. A commit that has begun goes on until the deadline;
    /// when that passes, its outcome is unknown.
    ///
    /// Ends by the deadline and a second, whatever the brokers do. Within that time librdkafka's threads have ended too, as
    /// ``KafkaProducer/close(within:)`` says.
    ///
    /// Deliveries whose transaction's outcome is still unknown are let go of: the next reader of their partitions begins
    /// where the group is, and the consumer that they come from neither commits past them nor waits for them when it closes.
    ///
    /// - Parameter timeout: How long that may take.
    /// - Returns: What became of the messages of the transaction that was in progress: all of them delivered, failed, or unknown.
    @discardableResult
    public func close(within timeout: Duration = .seconds(30)) async -> KafkaCloseSummary {
        await core.close(within: timeout)
    }

    /// Waits for the service group to shut down, then closes within ``KafkaProducer/Configuration/closeTimeout``.
    ///
    /// The producer works whether this runs or not. Cancelling the task that runs it closes the producer without waiting.
    public func run() async throws {
        do {
            try await gracefulShutdown()
        } catch {
            await core.close(within: .zero)
            throw error
        }
        await core.close(within: core.configuration.closeTimeout)
    }

    private func refuseInside() throws(KafkaError) {
        guard !Self.surrounding.contains(ObjectIdentifier(self)) else {
            throw .invalidArgument(
                "a transaction of this producer is in progress in this task: transactions cannot be nested"
            )
        }
    }
}

extension KafkaTransactionalProducer {
    /// A transaction in progress, inside of ``KafkaTransactionalProducer/withTransaction(_:)``.
    ///
    /// It can be passed to other tasks that end before that does; used later, it throws. As a ``Destination`` it takes what code
    /// sends that does not know of transactions.
    public struct Transaction: Destination {
        let scope: TransactionScope

        /// Accepts a message as part of the transaction, and does not wait for the broker: the commit confirms them all. One
        /// that fails makes the commit fail.
        ///
        /// A full buffer makes the call wait for room. The order in which one task enqueues is the order in the partition.
        ///
        /// - Throws: ``KafkaError`` with `notPersisted`: the message was not accepted. With the recovery
        ///   `abortTransaction` the transaction has failed already, and cannot be committed any more.
        public func enqueue(_ message: KafkaMessage) async throws(KafkaError) {
            _ = try await scope.enqueue(message)
        }

        /// Accepts many messages, in order, as ``enqueue(_:)`` does.
        ///
        /// - Throws: ``KafkaError`` for the first that is not accepted; those after it are not sent.
        public func enqueue(contentsOf messages: some Sequence<KafkaMessage>) async throws(KafkaError) {
            for message in messages { _ = try await scope.enqueue(message) }
        }

        /// Sends a message as part of the transaction and waits until it is stored. Whether it counts, the commit decides; so
        /// where nothing in the transaction needs to know where the message is, ``enqueue(_:)`` is quicker and promises as much.
        ///
        /// - Returns: Where the message is stored.
        /// - Throws: ``KafkaError``, as ``KafkaProducer/send(_:)`` does; the transaction can then not be committed any more.
        @discardableResult
        public func send(_ message: KafkaMessage) async throws(KafkaError) -> KafkaDeliveryReport {
            let pending = try await scope.enqueue(message)
            do {
                return try await pending.report
            } catch {
                throw scope.explain(error)
            }
        }

        /// Sends many messages as part of the transaction, in order, and waits once for all of them.
        ///
        /// - Returns: For each message, in the order given, where it is stored or why not. After one that failed the transaction
        ///   can not be committed any more.
        public func send(
            contentsOf messages: some Sequence<KafkaMessage>
        ) async -> [Result<KafkaDeliveryReport, KafkaError>] {
            var pending: [Result<KafkaProducer.PendingDelivery, KafkaError>] = []
            for message in messages {
                do {
                    pending.append(.success(try await scope.enqueue(message)))
                } catch {
                    pending.append(.failure(error))
                }
            }
            var results: [Result<KafkaDeliveryReport, KafkaError>] = []
            for pending in pending {
                switch pending {
                case .failure(let error): results.append(.failure(error))
                case .success(let pending):
                    do {
                        results.append(.success(try await pending.report))
                    } catch {
                        results.append(.failure(scope.explain(error)))
                    }
                }
            }
            return results
        }

        /// Makes one delivery part of the transaction, as the other function of this name does with many.
        public func acknowledge(
            _ delivery: KafkaConsumer.Delivery,
            from consumer: KafkaConsumer
        ) throws(KafkaError) {
            try scope.acknowledge(CollectionOfOne(delivery), from: consumer)
        }

        /// Makes deliveries part of the transaction: they are settled when that commits, and handed out again when it does
        /// not.
        ///
        /// The offsets go to the coordinator with the commit, under the consumer's membership in its group, and the
        /// consumer itself commits nothing of these partitions meanwhile. When the transaction ends, everything that was
        /// handed out of a partition before its deliveries has to be settled or part of the transaction too: otherwise it
        /// is aborted with `invalidArgument` rather than skip a message. A partition's deliveries can be part of one
        /// transaction at a time.
        ///
        /// For loops of your own and ``KafkaConsumer/forEachBatch(maximumCount:maximumWait:retry:deadLetters:_:)``. In the
        /// handler of a `forEach` a transaction that is aborted hands its delivery out again at once, whatever the retry
        /// policy says, and when the policy gives up the loop ends; ``KafkaConsumer/transform(through:maximumCount:maximumWait:retry:deadLetters:_:)``
        /// does better.
        ///
        /// - Parameters:
        ///   - deliveries: Without a verdict, and of ``KafkaConsumer/Configuration/Isolation-swift.enum/readCommitted``.
        ///   - consumer: Where they come from.
        /// - Throws: ``KafkaError``: `assignmentEnded` where a partition went to another member of the group,
        ///   `invalidArgument` where a delivery has its verdict or comes from elsewhere.
        public func acknowledge(
            _ deliveries: some Sequence<KafkaConsumer.Delivery>,
            from consumer: KafkaConsumer
        ) throws(KafkaError) {
            try scope.acknowledge(deliveries, from: consumer)
        }
    }
}

/// A transactional producer for the length of a scope: closed when `body` ends, however it does.
///
/// - Parameters:
///   - configuration: The settings.
///   - logger: Where log lines go.
///   - body: What to do with the producer.
/// - Returns: What `body` returns.
/// - Throws: ``KafkaError`` of kind `invalidConfiguration`, and what `body` throws.
@discardableResult
public func withKafkaTransactionalProducer<Result>(
    _ configuration: KafkaTransactionalProducer.Configuration,
    logger: Logger = Logger(label: "KafkaDelivery"),
    _ body: (KafkaTransactionalProducer) async throws -> sending Result
) async throws -> sending Result {
    let producer = try KafkaTransactionalProducer(configuration, logger: logger)
    return try await withClient(producer, body) { _ = await $0.close(within: configuration.closeTimeout) }
}
