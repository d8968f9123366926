public import KafkaDelivery
public import Logging
public import OutboxDelivery

extension KafkaConsumer.Configuration {
    /// Lets partitions begin at the offset that an inbox has stored, whatever the group has committed in Kafka: the effects are in
    /// the database, and so is how far they have come. Where the inbox has stored none, a partition begins where it would.
    ///
    /// A topic that is deleted and made anew counts its offsets from 0 again: delete its rows of the inbox, or what it holds below
    /// the stored offset is taken for done.
    public mutating func begin(at inbox: some InboxStore) {
        startingOffset = { assigned in
            do throws(OutboxError) {
                return try await inbox.nextOffset(
                    of: InboxPlace(topic: assigned.partition.topic, partition: assigned.partition.partition)
                )
            } catch {
                throw PatientInbox.meaning(of: error, .before) == .inboxIsUnusable ? HandlingStop.endLoop(error) : error
            }
        }
    }
}

extension KafkaConsumer {
    /// Handles every delivery in a transaction of the application's database, which also stores the offset and the idempotency
    /// key: each message has its effect once, whatever is killed, redelivered or rebalanced.
    ///
    /// ```swift
    /// configuration.begin(at: inbox)
    /// let consumer = try KafkaConsumer(configuration)
    /// try await consumer.forEach(inbox: inbox) { delivery, db in
    ///     try Projection(delivery).save(db)
    ///     try outbox.append(message(for: delivery), in: db)       // and from here exactly once to Kafka
    /// }
    /// ```
    ///
    /// Deliveries of a partition are handled one after the other, in order: that is what one offset can say. A message that comes again
    /// is acknowledged, and the handler not called: one whose offset is below the stored one, and one whose
    /// ``KafkaMessage/idempotencyKey`` is known, as when it was sent twice. Throwing rolls the transaction back; the policy then says what
    /// becomes of the message. A message that is given up and published as a dead letter has no effect, and the ones behind it
    /// go on: the stored offset is moved past it once the letter is stored, and its key is not. Redriven, it comes with its key, and
    /// has its effect then.
    ///
    /// A database that is away, busy or read-only is waited for, until the consumer closes or the partition goes to another member: that
    /// counts as no attempt, and no message becomes a dead letter for it. What the database says of the handler's own statements is the
    /// handler's failure, also where it swallows the error: a statement that is longer than a time-out allows, a transaction that one of
    /// its statements has failed. Where it may be either, it is the handler's when it comes a second time in a row: the server did not
    /// answer a statement of the handler's in time, or has ended a transaction in which none came for too long.
    ///
    /// The transaction's end is the verdict. A handler that says itself that a delivery comes again
    /// (``Delivery/negativelyAcknowledge(_:after:)``) has its transaction rolled back. Acknowledge nothing in the handler: one that
    /// acknowledges and then throws, or that acknowledges a delivery of a batch and sends another back, ends the loop with an error,
    /// because the effect of what it has acknowledged is undone. So does one whose transaction cannot be committed then. Nothing more of the
    /// partition is handed out before it is sought or assigned anew.
    ///
    /// What a loop leaves unsettled when it ends, the next loop of the same consumer begins with.
    ///
    /// What is outside of the database has no part in the transaction: call other systems through an outbox, not in the handler.
    ///
    /// - Parameters:
    ///   - inbox: Where offsets and keys are stored; the consumer's configuration has to begin at it.
    ///   - retry: What to do about the handler's errors.
    ///   - deadLetters: Where messages go that are given up.
    ///   - logger: Where it says that the database is waited for, as warnings.
    ///   - handler: Handles one delivery, with the transaction.
    /// - Throws: As ``forEach(concurrency:retry:retryTopics:deadLetters:deduplicating:_:)``; ``OutboxError`` where the inbox will not
    ///   work until a person has changed something (a table or a right is missing, the inbox is closed), and where the handler acknowledges
    ///   and fails (`invalidMessage`): the message stays unsettled. Behind a dead letter that is stored, what a person may mend is waited
    ///   for, and an inbox that was closed ends the loop; ``KafkaError`` of the kind `invalidConfiguration` where the consumer does not begin at an inbox.
    public func forEach<Store: Inbox>(
        inbox: Store,
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        deadLetters: KafkaDeadLetters? = nil,
        logger: Logger = Logger(label: "OutboxKafka"),
        _ handler: @escaping @Sendable (Delivery, Store.Transaction) throws -> Void
    ) async throws {
        try checkBeginning()
        let patient = PatientInbox(logger: logger)
        let letters = patient.letters(deadLetters) { try await inbox.receive([$0]) { _, _ in } }
        try await patient.run {
            try await forEach(retry: retry, deadLetters: letters) { delivery in
                try await patient.receive([delivery]) { handling in
                    try await inbox.receive([delivery.inboxMessage]) { transaction, _ in
                        try handling.run([delivery]) { try handler(delivery, transaction) }
                    }
                }
            }
        }
    }

    /// Handles every delivery in a transaction that suspends; see ``forEach(inbox:retry:deadLetters:logger:_:)-(_,_,_,_,(_,_)throws->_)``.
    public func forEach<Store: AsyncInbox>(
        inbox: Store,
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        deadLetters: KafkaDeadLetters? = nil,
        logger: Logger = Logger(label: "OutboxKafka"),
        _ handler: @escaping @Sendable (Delivery, Store.Transaction) async throws -> Void
    ) async throws {
        try checkBeginning()
        let patient = PatientInbox(logger: logger)
        let letters = patient.letters(deadLetters) { try await inbox.receive([$0]) { _, _ in } }
        try await patient.run {
            try await forEach(retry: retry, deadLetters: letters) { delivery in
                try await patient.receive([delivery]) { handling in
                    try await inbox.receive([delivery.inboxMessage]) { transaction, _ in
                        try await handling.run([delivery]) { try await handler(delivery, transaction) }
                    }
                }
            }
        }
    }

    /// Handles deliveries of one partition in batches, each in one transaction: for databases whose commits are slower than what
    /// the messages do.
    ///
    /// The handler gets the deliveries that are new, in order, and is not called where none is. Throwing rolls back all of them, and so
    /// does sending one of them back (``Delivery/negativelyAcknowledge(_:after:)``). Acknowledge none of them: a handler that acknowledges
    /// one and sends another back ends the loop with an error, see ``forEach(inbox:retry:deadLetters:logger:_:)-(_,_,_,_,(_,_)throws->_)``.
    ///
    /// - Parameters:
    ///   - inbox: Where offsets and keys are stored; the consumer's configuration has to begin at it.
    ///   - maximumCount: How many deliveries a batch has at most, 1 or more.
    ///   - maximumWait: How long the first of a batch waits for others.
    ///   - retry: What to do about the handler's errors.
    ///   - deadLetters: Where messages go that are given up: of a batch that failed each that its policy gives up, and
    ///     what is behind one that comes again waits for it.
    ///   - logger: Where it says that the database is waited for, as warnings.
    ///   - handler: Handles one batch, with the transaction.
    /// - Throws: As ``forEach(inbox:retry:deadLetters:logger:_:)-(_,_,_,_,(_,_)throws->_)``.
    public func forEachBatch<Store: Inbox>(
        inbox: Store,
        maximumCount: Int,
        maximumWait: Duration,
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        deadLetters: KafkaDeadLetters? = nil,
        logger: Logger = Logger(label: "OutboxKafka"),
        _ handler: @escaping @Sendable ([Delivery], Store.Transaction) throws -> Void
    ) async throws {
        try checkBeginning()
        let patient = PatientInbox(logger: logger)
        let letters = patient.letters(deadLetters) { try await inbox.receive([$0]) { _, _ in } }
        try await patient.run {
            try await forEachBatch(
                maximumCount: maximumCount,
                maximumWait: maximumWait,
                retry: retry,
                deadLetters: letters
            ) { deliveries in
                try await patient.receive(deliveries) { handling in
                    try await inbox.receive(deliveries.map(\.inboxMessage)) { transaction, new in
                        try handling.run(deliveries) { try handler(new.map { deliveries[$0] }, transaction) }
                    }
                }
            }
        }
    }

    /// Handles deliveries of one partition in batches, each in one transaction that suspends.
    public func forEachBatch<Store: AsyncInbox>(
        inbox: Store,
        maximumCount: Int,
        maximumWait: Duration,
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        deadLetters: KafkaDeadLetters? = nil,
        logger: Logger = Logger(label: "OutboxKafka"),
        _ handler: @escaping @Sendable ([Delivery], Store.Transaction) async throws -> Void
    ) async throws {
        try checkBeginning()
        let patient = PatientInbox(logger: logger)
        let letters = patient.letters(deadLetters) { try await inbox.receive([$0]) { _, _ in } }
        try await patient.run {
            try await forEachBatch(
                maximumCount: maximumCount,
                maximumWait: maximumWait,
                retry: retry,
                deadLetters: letters
            ) { deliveries in
                try await patient.receive(deliveries) { handling in
                    try await inbox.receive(deliveries.map(\.inboxMessage)) { transaction, new in
                        try await handling.run(deliveries) {
                            try await handler(new.map { deliveries[$0] }, transaction)
                        }
                    }
                }
            }
        }
    }

    /// Offsets that the consumer does not ask for do not win over the group's: after a restore of the database, messages would be left out.
    private func checkBeginning() throws(KafkaError) {
        guard asksForStartingOffsets else {
            throw KafkaError(
                .invalidConfiguration,
                recovery: .fixRequest,
                reason: "let the consumer begin where its inbox says: configuration.begin(at: inbox)"
            )
        }
    }
}

extension KafkaConsumer.Delivery {
    /// What an inbox knows of it.
    var inboxMessage: InboxMessage {
        InboxMessage(
            place: InboxPlace(topic: topic, partition: partition),
            offset: offset,
            idempotencyKey: idempotencyKey?.array
        )
    }
}
