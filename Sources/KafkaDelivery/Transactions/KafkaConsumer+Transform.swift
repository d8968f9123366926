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
    /// What the brokers refuse together is sent once more one after the other, to find what is at fault, and so are dead letters.
    /// Such a transaction is committed with what it has by then when it has taken a third of the producer's
    /// ``KafkaTransactionalProducer/Configuration/transactionTimeout``, and the rest of its batch is handed out again.
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
    ///     of the batch goes on. There are no retry topics: a message that left its partition would not be in its order.
    ///   - deadLetters: Where messages go that are given up; nil ends the loop with the error. A dead letter is sent in the batch's
    ///     transaction, through its producer and no other, to the partition that its key chooses, with the time of its sending.
    ///     Where one can never be stored and is held, its partition is, and the others go on. Where it is handed over
    ///     (``KafkaDeadLetters/Refusal/handOver(_:)``), it is part of the transaction that follows. When that closure throws, only it
    ///     is tried again, and not the letter; once it has returned it is not called again for the message, even where the
    ///     transaction is aborted, unless the partition goes to another member or the process ends before that is committed.
    ///   - transform: Makes the messages to send of one delivery; none is possible. Called in the order of each partition.
    /// - Throws: ``KafkaError`` where the consumer or the producer cannot go on, and of kind
    ///   `invalidConfiguration` where the name of a dead-letter topic of a configured topic is not possible; and
    ///   `transform`'s error where a message is given up and there are no dead letters. What was made of a message may be
    ///   refused by the producer or the brokers, because it is too large for instance: that is such an error, and not worth
    ///   another attempt. What was not committed is handed out again to the next loop.
    public func transform(
        through producer: KafkaTransactionalProducer,
        maximumCount: Int = 1_000,
        maximumWait: Duration = .milliseconds(50),
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        deadLetters: KafkaDeadLetters? = nil,
        _ transform: @escaping @Sendable (Delivery) async throws -> [KafkaMessage]
    ) async throws {
        try core.refuseTopics(nil, deadLetterTopic: deadLetters?.topicName)
        var loop = TransformLoop(
            consumer: self,
            producer: producer,
            retry: retry,
            deadLetters: deadLetters.map { letters in
                TransformLetters(
                    core: core,
                    topicName: letters.topicName,
                    onRefusal: letters.onRefusal,
                    isCompressed: producer.core.configuration.producer.compression != .none
                )
            },
            transform: transform
        )
        let cursor = Cursor(core: core)
        try await untilShutdown {
            try await HandlerTask.run(core) {
                while let batch = try await cursor.batch(maximumCount: maximumCount, maximumWait: maximumWait) {
                    guard try await loop.handle(batch) else { return }
                }
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
