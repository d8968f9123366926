internal import Logging

extension KafkaConsumer {
    /// Reads, transforms and sends, each message exactly once: what comes of a batch of deliveries is sent in one transaction
    /// together with the offsets of that batch, until the consumer is closed or the task cancelled.
    ///
    /// ```swift
    /// try await consumer.transform(through: producer) { delivery in
    ///     [try KafkaMessage(topic: "invoices", key: delivery.key, value: invoice(for: delivery))]
    /// }
    /// ```
    ///
    /// Readers of committed messages see what was made of a message once, whatever fails meanwhile: a transaction that is
    /// aborted is done again, and so is one whose partitions have gone to another member, there. What `transform` itself
    /// does elsewhere may happen more than once.
    ///
    /// When the consumer is closed, which a graceful shutdown of the service that runs this does, the batch in hand is finished
    /// first, within the time that ``close(within:)`` gives. When a partition goes to another member, it waits for the batch, for
    /// at most ``Configuration/revocationTimeout``.
    ///
    /// - Parameters:
    ///   - producer: What to send with. It has one transaction at a time, so use one producer for each loop like this.
    ///   - maximumCount: How many deliveries a transaction has at most, 1 or more. Larger ones cost less and take longer.
    ///   - maximumWait: How long the first delivery of a batch waits for others.
    ///   - retry: What to do where `transform` throws. A message that is to be tried again holds back its partition; the rest
    ///     of the batch goes on. Retry topics are refused: a message that left its partition would not be in its order.
    ///   - deadLetterTopic: The dead-letter topic of a topic, for messages that are given up. The dead letter is sent in the
    ///     batch's transaction, to the partition that its key chooses, with the time of its sending. Without one the error
    ///     ends the loop.
    ///   - transform: Makes the messages to send of one delivery; none is possible. Called in the order of each partition.
    /// - Throws: ``KafkaError`` where the consumer or the producer cannot go on, where a message can never be sent, and of kind
    ///   `invalidArgument` for retry topics; and `transform`'s error where a message is given up and there is no dead-letter
    ///   topic. What was not committed is handed out again to the next loop.
    public func transform(
        through producer: KafkaTransactionalProducer,
        maximumCount: Int = 1_000,
        maximumWait: Duration = .milliseconds(50),
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        deadLetterTopic: (@Sendable (_ original: String) -> String)? = nil,
        _ transform: @escaping @Sendable (Delivery) async throws -> [KafkaMessage]
    ) async throws {
        guard retry.topics == nil else {
            throw KafkaError.invalidArgument("transform tries again in place: it has no retry topics", persistence: nil)
        }
        var loop = TransformLoop(
            consumer: self,
            producer: producer,
            retry: retry,
            deadLetterTopic: deadLetterTopic,
            transform: transform
        )
        let cursor = Cursor(core: core)
        try await untilShutdown {
            while let batch = try await cursor.batch(maximumCount: maximumCount, maximumWait: maximumWait) {
                guard try await loop.handle(batch) else { return }
            }
        }
    }
}

extension KafkaConsumer.Cursor {
    /// The next deliveries; nil when the consumer is closed or the task cancelled.
    fileprivate func batch(
        maximumCount: Int,
        maximumWait: Duration
    ) async throws(KafkaError) -> [KafkaConsumer.Delivery]? {
        var batch: [KafkaConsumer.Delivery] = []
        var deadline: ContinuousClock.Instant?
        while batch.count < max(maximumCount, 1), !Task.isCancelled {
            do throws(KafkaError) {
                if let delivery = try takeNow() {
                    if batch.isEmpty { deadline = .now.advanced(by: maximumWait.asTimeout) }
                    batch.append(delivery)
                    continue
                }
                if let deadline, ContinuousClock.now >= deadline { break }
                guard try await wait(isolation: #isolation, until: deadline) else { break }
            } catch {
                // The error will be there at the next call too.
                if batch.isEmpty { throw error }
                break
            }
        }
        return batch.isEmpty ? nil : batch
    }
}

/// What ``KafkaConsumer/transform(through:maximumCount:maximumWait:retry:deadLetterTopic:_:)`` does with its batches.
struct TransformLoop {
    typealias Delivery = KafkaConsumer.Delivery

    private struct Place: Hashable {
        let reader: ObjectIdentifier
        let sequence: OffsetTracker.Sequence

        init(_ delivery: Delivery) {
            reader = ObjectIdentifier(delivery.message.reader)
            sequence = delivery.message.sequence
        }
    }

    /// What a batch came to.
    private struct Yield {
        var outputs: [KafkaMessage] = []
        var letters: [(delivery: Delivery, letter: KafkaMessage)] = []
        var finished: [Delivery] = []
    }

    let consumer: KafkaConsumer
    let producer: KafkaTransactionalProducer
    let retry: KafkaRetryPolicy
    let deadLetterTopic: (@Sendable (String) -> String)?
    let transform: @Sendable (Delivery) async throws -> [KafkaMessage]
    /// How often a message failed. Its ``Delivery/attempt`` counts too how often it was part of a batch that was undone for
    /// another's sake.
    private var failures: [Place: (count: Int, reader: PartitionReader)] = [:]
    /// How often in a row a transaction failed.
    private var setbacks = 0
    private let backoff = KafkaRetryPolicy.exponential(
        initial: .milliseconds(100),
        maximum: .seconds(10),
        maximumAttempts: nil
    )

    init(
        consumer: KafkaConsumer,
        producer: KafkaTransactionalProducer,
        retry: KafkaRetryPolicy,
        deadLetterTopic: (@Sendable (String) -> String)?,
        transform: @escaping @Sendable (Delivery) async throws -> [KafkaMessage]
    ) {
        self.consumer = consumer
        self.producer = producer
        self.retry = retry
        self.deadLetterTopic = deadLetterTopic
        self.transform = transform
    }

    /// Handles a batch.
    ///
    /// - Returns: False where the task was cancelled.
    mutating func handle(_ batch: [Delivery]) async throws -> Bool {
        // Whatever is left at the end goes to the next batch, or to the next loop.
        defer {
            for delivery in batch where !delivery.message.hasVerdict { handBack(delivery) }
            failures = failures.isEmpty ? failures : failures.filter { $0.value.reader.isReading }
        }
        let yield = try await transform(batch)
        guard !Task.isCancelled else { return false }
        guard !yield.finished.isEmpty else { return true }
        do {
            try await commit(yield)
        } catch let error as KafkaError {
            return try await overcome(error)
        }
        setbacks = 0
        for delivery in yield.finished { failures[Place(delivery)] = nil }
        return true
    }

    /// Calls the transformation for each delivery, before any transaction begins: one that fails undoes nothing.
    private mutating func transform(_ batch: [Delivery]) async throws -> Yield {
        var yield = Yield()
        /// Partitions that are held back until an earlier message of theirs is tried again, and how long.
        var heldBack: [ObjectIdentifier: Duration] = [:]
        for delivery in batch {
            let reader = ObjectIdentifier(delivery.message.reader)
            if let delay = heldBack[reader] {
                handBack(delivery, after: delay)
                continue
            }
            do {
                yield.outputs += try await transform(delivery)
                yield.finished.append(delivery)
            } catch {
                if Task.isCancelled { return yield }
                let count = (failures[Place(delivery)]?.count ?? 0) + 1
                failures[Place(delivery)] = (count, delivery.message.reader)
                switch retry.decide(attempt: count, error: error) {
                case .retry(let delay):
                    delivery.reject(error, after: delay, holdingPartition: true)
                    consumer.core.events.send(.redelivery(delivery.source, attempt: delivery.attempt + 1, after: delay))
                    heldBack[reader] = delay
                case .giveUp:
                    guard let letter = letter(delivery, error) else { throw error }
                    yield.letters.append((delivery, letter))
                    yield.finished.append(delivery)
                }
            }
        }
        return yield
    }

    private func commit(_ yield: Yield) async throws {
        let reports = try await producer.withTransaction { transaction in
            try transaction.acknowledge(yield.finished, from: consumer)
            try await transaction.send(contentsOf: yield.outputs)
            var reports: [KafkaDeliveryReport] = []
            for (_, letter) in yield.letters { reports.append(try await transaction.sendConfirmed(letter)) }
            return reports
        }
        for ((delivery, _), report) in zip(yield.letters, reports) {
            consumer.core.logger.notice(
                "Message given up, its dead letter is stored",
                metadata: ["kafka_delivery": "\(delivery)", "kafka_dead_letter": "\(report)"]
            )
            consumer.core.events.send(.deadLettered(delivery.source, report))
        }
    }

    /// A transaction was not committed: waits until another may be.
    ///
    /// - Returns: False where the task was cancelled.
    private mutating func overcome(_ failure: KafkaError) async throws -> Bool {
        var failure = failure
        while true {
            if Task.isCancelled { return false }
            guard failure.recovery == .retry || failure.recovery == .abortTransaction else { throw failure }
            setbacks += 1
            consumer.core.logger.info(
                "A batch was not committed, to be done again",
                metadata: ["kafka_error": "\(failure)", "kafka_setbacks": "\(setbacks)"]
            )
            // Time is what is waited for here: a coordinator gives no sign when it will answer again.
            guard (try? await Task.sleep(for: backoff.delay(after: setbacks))) != nil else { return false }
            do throws(KafkaError) {
                // Finds out what became of a commit that was not answered, and hands out again what was not committed.
                try await producer.initialize()
                return true
            } catch {
                failure = error
            }
        }
    }

    private func handBack(_ delivery: Delivery, after delay: Duration = .zero) {
        delivery.message.reject(after: delay, holdingPartition: true)
    }

    private func letter(_ delivery: Delivery, _ error: any Error) -> KafkaMessage? {
        guard let deadLetterTopic else { return nil }
        var letter = delivery.content
        // In a transaction a partition that does not exist could not be taken back.
        letter.partition = nil
        letter.become(
            KafkaDeadLetter(
                MessageOrigin(delivery),
                letter.headers,
                group: consumer.core.configuration.group,
                error: error,
                topicName: deadLetterTopic
            ),
            in: deadLetterTopic(delivery.topic)
        )
        return letter
    }
}
