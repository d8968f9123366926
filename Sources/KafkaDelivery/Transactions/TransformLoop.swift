internal import Logging

/// What ``KafkaConsumer/transform(through:maximumCount:maximumWait:retry:deadLetters:_:)`` does with its batches.
struct TransformLoop {
    typealias Delivery = KafkaConsumer.Delivery

    /// A message of its partition in a generation.
    struct Position: Hashable {
        let source: ObjectIdentifier
        let sequence: OffsetTracker.Sequence

        init(_ delivery: Delivery) {
            source = ObjectIdentifier(delivery.deliverySource)
            sequence = delivery.deliverySequence
        }
    }

    /// What a delivery came to.
    private enum Work {
        case outputs([KafkaMessage])
        case letter(KafkaMessage)
        /// The application has stored it elsewhere.
        case nothing
    }

    /// What a batch came to, in its order.
    private struct Yield {
        var finished: [(delivery: Delivery, work: Work)] = []
        /// Whether something of it is sent by itself, and its answer waited for.
        var hasLetters = false
    }

    let consumer: KafkaConsumer
    let producer: KafkaTransactionalProducer
    let retry: KafkaRetryPolicy
    /// Nil where there are none.
    private var deadLetters: TransformLetters?
    let transform: @Sendable (Delivery) async throws -> [KafkaMessage]
    /// How often a message failed. Its ``Delivery/attempt`` counts too how often it was part of a batch that was undone for
    /// another's sake.
    private var failures: [Position: (count: Int, source: any DeliverySource)] = [:]
    /// How often in a row a transaction failed.
    private var setbacks = 0
    /// Of how many deliveries what comes of them is still to be sent one after the other, each awaited: it was refused
    /// together, and each has to get an answer of its own.
    private var suspects = 0
    private var sendsOneByOne: Bool { suspects > 0 }
    private let backoff = KafkaRetryPolicy.exponential(
        initial: .milliseconds(100),
        maximum: .seconds(10),
        maximumAttempts: nil
    )

    init(
        consumer: KafkaConsumer,
        producer: KafkaTransactionalProducer,
        retry: KafkaRetryPolicy,
        deadLetters: TransformLetters?,
        transform: @escaping @Sendable (Delivery) async throws -> [KafkaMessage]
    ) {
        self.consumer = consumer
        self.producer = producer
        self.retry = retry
        self.deadLetters = deadLetters
        self.transform = transform
    }

    /// Handles a batch.
    ///
    /// - Returns: False where the task was cancelled.
    mutating func handle(_ batch: [Delivery]) async throws -> Bool {
        // Whatever is left at the end goes to the next batch, or to the next loop.
        defer {
            for delivery in batch where !delivery.hasVerdict { handBack(delivery) }
            failures = failures.isEmpty ? failures : failures.filter { $0.value.source.isCurrent($0.key.sequence) }
            deadLetters?.removeEnded()
        }
        let yield = try await transform(batch)
        guard !Task.isCancelled else { return false }
        guard !yield.finished.isEmpty else { return true }
        let count: Int
        do {
            count = try await commit(yield)
        } catch let refused as RefusedLetter {
            // Without some of its headers it may be stored; or it is known from now on that it never is.
            deadLetters?.noteRefusal(refused)
            return try await beginAnew()
        } catch let refused as RefusedOutput {
            // It is the fault of what it was made of.
            guard deadLetters != nil else { throw refused.error }
            let count = (failures[Position(refused.delivery)]?.count ?? 0) + 1
            deadLetters?.add(refused.delivery, attempts: count, refused.error)
            return try await beginAnew()
        } catch let error as KafkaError {
            guard !sendsOneByOne, error.kind == .batchRefused || error.isOfOneMessage else {
                return try await overcome(error)
            }
            consumer.core.logger.info(
                "Something was refused, to be sent one by one",
                metadata: ["kafka_error": "\(error)"]
            )
            suspects = yield.finished.count
            return try await beginAnew()
        }
        setbacks = 0
        suspects = count < yield.finished.count ? max(suspects - count, 0) : 0
        for (delivery, _) in yield.finished.prefix(count) {
            failures[Position(delivery)] = nil
            deadLetters?.noteCommitted(Position(delivery))
        }
        return true
    }

    /// Calls the transformation for each delivery, before any transaction begins: one that fails undoes nothing.
    private mutating func transform(_ batch: [Delivery]) async throws -> Yield {
        var yield = Yield()
        /// Partitions that are held back until an earlier message of theirs is tried again, and how long.
        var heldBack: [ObjectIdentifier: Duration] = [:]
        for delivery in batch {
            let reader = ObjectIdentifier(delivery.deliverySource)
            if let delay = heldBack[reader] {
                handBack(delivery, after: delay)
                continue
            }
            // What was given up is not transformed again when its transaction was not committed.
            if deadLetters?.has(Position(delivery)) != true {
                do {
                    let outputs = try await transform(delivery)
                    try refuseTooLarge(outputs, of: delivery)
                    yield.finished.append((delivery, .outputs(outputs)))
                    continue
                } catch {
                    if Task.isCancelled { return yield }
                    let count = (failures[Position(delivery)]?.count ?? 0) + 1
                    failures[Position(delivery)] = (count, delivery.deliverySource)
                    let decision: KafkaRetryPolicy.Decision =
                        error is RefusedOutput ? .giveUp : retry.decide(attempt: count, error: error)
                    switch decision {
                    case .retry(let delay):
                        delivery.reject(error, after: delay, holdingPartition: true)
                        consumer.core.events.send(
                            .retried(delivery.source, attempt: delivery.attempt + 1, after: delay)
                        )
                        heldBack[reader] = delay
                        continue
                    case .giveUp:
                        let error = (error as? RefusedOutput)?.error ?? error
                        guard deadLetters != nil else { throw error }
                        deadLetters?.add(delivery, attempts: count, error)
                    }
                }
            }
            let limit = maximumMessageBytes
            switch await deadLetters?.prepare(delivery, maximumBytes: limit) {
            case nil: break
            case .letter(let letter):
                yield.finished.append((delivery, .letter(letter)))
                yield.hasLetters = true
            case .handedOver:
                yield.finished.append((delivery, .nothing))
            case .held(let delay):
                if Task.isCancelled { return yield }
                handBack(delivery, after: delay)
                heldBack[reader] = delay
            }
        }
        return yield
    }

    /// The largest message that the producer takes.
    private var maximumMessageBytes: Int { producer.core.configuration.producer.maximumMessageBytes }

    /// What would abort each transaction that it is part of is the fault of what it was made of.
    private func refuseTooLarge(_ outputs: [KafkaMessage], of delivery: Delivery) throws(RefusedOutput) {
        for output in outputs where output.wireSize > maximumMessageBytes {
            guard let error = output.refusal(maximumBytes: maximumMessageBytes) else { continue }
            throw RefusedOutput(delivery: delivery, error: error)
        }
    }

    /// How much of its timeout a transaction whose messages are awaited one by one takes before it is committed.
    private static let share = 3

    /// Commits what a batch came to. Where answers are waited for one after the other, that may take longer than the
    /// coordinator lets a transaction go on, so it ends after a share of that with what is sent by then.
    ///
    /// - Returns: Of how many deliveries, the first ones, it is committed. The others are to be handed out again.
    private func commit(_ yield: Yield) async throws -> Int {
        let isPatient = sendsOneByOne || yield.hasLetters
        let timeout = producer.core.configuration.transactionTimeout
        let (count, reports) = try await producer.withTransaction { transaction in
            let deadline = ContinuousClock.now.advanced(by: timeout / Self.share)
            if !isPatient { try transaction.acknowledge(yield.finished.lazy.map(\.delivery), from: consumer) }
            var count = 0
            var reports: [(Delivery, KafkaDeliveryReport)] = []
            for (delivery, work) in yield.finished {
                if isPatient {
                    if count > 0, ContinuousClock.now >= deadline { break }
                    try transaction.acknowledge(delivery, from: consumer)
                }
                switch work {
                case .outputs(let messages): try await send(messages, of: delivery, transaction)
                case .letter(let letter): reports.append((delivery, try await send(letter, of: delivery, transaction)))
                case .nothing: break
                }
                count += 1
            }
            return (count, reports)
        }
        for (delivery, report) in reports {
            consumer.core.logger.notice(
                "Message given up, its dead letter is stored",
                metadata: ["kafka_delivery": "\(delivery)", "kafka_dead_letter": "\(report)"]
            )
            consumer.core.events.send(.deadLettered(delivery.source, report))
        }
        return count
    }

    private func send(
        _ messages: [KafkaMessage],
        of delivery: Delivery,
        _ transaction: KafkaTransactionalProducer.Transaction
    ) async throws {
        guard sendsOneByOne else { return try await transaction.enqueue(contentsOf: messages) }
        do {
            for message in messages { try await transaction.send(message) }
        } catch {
            guard error.recovery == .fixRequest, error.isOfMessageItself else { throw error }
            throw RefusedOutput(delivery: delivery, error: error)
        }
    }

    private func send(
        _ letter: KafkaMessage,
        of delivery: Delivery,
        _ transaction: KafkaTransactionalProducer.Transaction
    ) async throws -> KafkaDeliveryReport {
        do {
            return try await transaction.send(letter)
        } catch {
            guard error.recovery == .fixRequest, error.isOfMessageItself else { throw error }
            throw RefusedLetter(position: Position(delivery), letter: letter, error: error)
        }
    }

    /// A message that was made of a delivery, and is refused by itself.
    private struct RefusedOutput: Error {
        let delivery: Delivery
        let error: KafkaError
    }

    /// A transaction was not committed, and the next one is another: nothing is waited for.
    ///
    /// - Returns: False where the task was cancelled.
    private mutating func beginAnew() async throws -> Bool {
        do throws(KafkaError) {
            try await producer.initialize()
            return !Task.isCancelled
        } catch {
            return try await overcome(error)
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
        delivery.received?.reject(after: delay, holdingPartition: true)
    }
}

extension KafkaError {
    /// Whether it may be about one message of a transaction, which will be refused again.
    fileprivate var isOfOneMessage: Bool {
        recovery == .fixRequest && (kind == .messageTooLarge || kind == .invalidArgument)
    }
}
