internal import Logging

/// What happens to a delivery whose handler ended: the one place where a verdict follows from an outcome.
struct FailureHandling: Sendable {
    enum Outcome {
        /// Finished: handled, or stored elsewhere.
        case settled
        /// It is handed over again.
        case backsOff
        /// Left unsettled: the task was cancelled, or the partition went away.
        case left
    }

    /// What becomes of a delivery after its handler.
    enum Step {
        case ended(Outcome)
        /// A copy of it is to be published, see ``publish(_:_:)``.
        case givenUp(GivenUp)
    }

    let core: ConsumerCore
    let retry: KafkaRetryPolicy
    let deadLetters: KafkaDeadLetters?
    /// Whether backing off holds the whole partition back.
    let holdsPartition: Bool
    /// Those whose copies could not be published.
    private let unpublished = GivenUpDeliveries()

    init(core: ConsumerCore, retry: KafkaRetryPolicy, deadLetters: KafkaDeadLetters?, holdsPartition: Bool) {
        self.core = core
        self.retry = retry
        self.deadLetters = deadLetters
        self.holdsPartition = holdsPartition
    }

    /// Runs a handler for one delivery, and publishes it where it is given up. Returning acknowledges, throwing negatively
    /// acknowledges or gives up, cancellation leaves it unsettled.
    ///
    /// - Throws: The handler's error where the message is given up and there is nowhere to put it.
    func run(
        _ delivery: KafkaConsumer.Delivery,
        _ handler: (KafkaConsumer.Delivery) async throws -> Void
    ) async throws -> Outcome {
        switch try await handle(delivery, handler) {
        case .ended(let outcome): outcome
        case .givenUp(let givenUp): try await publish(givenUp, delivery)
        }
    }

    /// Runs a handler for one delivery, unless that was given up before.
    func handle(
        _ delivery: KafkaConsumer.Delivery,
        _ handler: (KafkaConsumer.Delivery) async throws -> Void
    ) async throws -> Step {
        if let givenUp = unpublished.take(delivery) { return .givenUp(givenUp) }
        if let starts = delivery.message.fatalStarts, deadLetters != nil {
            return .givenUp(GivenUp(KafkaPoisonMessage(starts: starts), origin(of: delivery), to: .deadLetters))
        }
        do {
            try await handler(delivery)
        } catch {
            return try failed(delivery, error)
        }
        if let outcome = delivery.message.outcomeOfVerdict { return .ended(outcome) }
        delivery.acknowledge()
        return .ended(.settled)
    }

    /// Whether the handler is not to see a delivery: it failed before, or kills processes.
    func isGivenUp(_ delivery: KafkaConsumer.Delivery) -> Bool {
        delivery.message.fatalStarts != nil || unpublished.contains(delivery)
    }

    func failed(_ delivery: KafkaConsumer.Delivery, _ error: any Error) throws -> Step {
        // The handler has said what becomes of it. It is not to be given up as well.
        if let outcome = delivery.message.outcomeOfVerdict { return .ended(outcome) }
        if Task.isCancelled { return .ended(.left) }
        switch retry.decide(attempt: delivery.attempt, error: error) {
        case .retry(let delay):
            delivery.reject(error, after: delay, holdingPartition: holdsPartition)
            core.events.send(.redelivery(delivery.source, attempt: delivery.attempt + 1, after: delay))
            return .ended(.backsOff)
        case .giveUp:
            // What was part of a transaction that was aborted is handed out again whatever is said here: its copy elsewhere
            // would be one more each time.
            if delivery.message.isClaimed { throw error }
            let origin = origin(of: delivery)
            if let topics = retry.topics, retry.isWorthAnotherAttempt(error), let next = topics.next(after: origin) {
                return .givenUp(GivenUp(error, origin, to: .retryTopic(next.topic, delay: next.delay)))
            }
            guard deadLetters != nil else { throw error }
            return .givenUp(GivenUp(error, origin, to: .deadLetters))
        }
    }

    private func origin(of delivery: KafkaConsumer.Delivery) -> MessageOrigin {
        retry.topics?.origin(of: delivery).0 ?? MessageOrigin(delivery)
    }

    /// Holds back a delivery of a retry topic that is not due, and with it what comes after it in its partition: that is
    /// due later still.
    ///
    /// - Returns: Whether it was.
    func postpone(_ delivery: KafkaConsumer.Delivery) -> Bool {
        guard let topics = retry.topics, let wait = topics.wait(of: delivery, now: core.backoff.timestamp) else {
            return false
        }
        delivery.message.postpone(for: wait)
        return true
    }
}

// MARK: Publishing

extension FailureHandling {
    /// Publishes a copy of a delivery, once. Only when that is confirmed is the original settled; otherwise it is handed out
    /// again after a while, for the next attempt at this: it waits as a message that failed does, in nobody's hands.
    ///
    /// - Throws: The handler's error where there is nowhere to put the message.
    func publish(_ givenUp: GivenUp, _ delivery: KafkaConsumer.Delivery) async throws -> Outcome {
        guard delivery.message.isCurrent else { return .left }
        if let outcome = delivery.message.outcomeOfVerdict { return outcome }
        switch givenUp.destination {
        case .retryTopic(let topic, let delay):
            return try await moveOn(givenUp, delivery, to: topic, delay)
        case .deadLetters:
            guard let deadLetters else { throw givenUp.error }
            return await bury(givenUp, delivery, deadLetters)
        }
    }

    private func moveOn(
        _ givenUp: GivenUp,
        _ delivery: KafkaConsumer.Delivery,
        to topic: String,
        _ delay: Duration
    ) async throws -> Outcome {
        guard let topics = retry.topics else { throw givenUp.error }
        let copy = topics.copy(
            of: delivery,
            givenUp.origin,
            to: topic,
            due: core.backoff.timestamp.advanced(by: delay),
            givenUp.error,
            group: core.configuration.group
        )
        let attempts = givenUp.origin.attempts
        switch await topics.copies.send(copy) {
        case .cancelled: return .left
        case .stored(let report):
            delivery.acknowledge()
            core.logger.debug(
                "Message failed, to be handed over again from its retry topic",
                metadata: [
                    "kafka_delivery": "\(delivery)", "kafka_attempt": "\(attempts)",
                    "kafka_error": "\(givenUp.error)",
                    "kafka_retry": "\(report.topic) [\(report.partition)] at \(report.offset)",
                ]
            )
            core.events.send(.retried(delivery.source, report, attempt: attempts + 1))
            return .settled
        case .failed(let error):
            core.events.send(.retryFailed(delivery.source, error))
            return backOff(givenUp, delivery, topic, error)
        case .refused(let error, _):
            core.events.send(.retryFailed(delivery.source, error))
            core.logger.warning(
                "Message can never be stored in its retry topic, and is given up",
                metadata: ["kafka_delivery": "\(delivery)", "kafka_topic": "\(topic)", "kafka_error": "\(error)"]
            )
            var givenUp = givenUp
            givenUp.destination = .deadLetters
            return try await publish(givenUp, delivery)
        }
    }

    private func bury(
        _ givenUp: GivenUp,
        _ delivery: KafkaConsumer.Delivery,
        _ deadLetters: KafkaDeadLetters
    ) async -> Outcome {
        let copy = deadLetters.copy(of: delivery, givenUp.origin, givenUp.error, group: core.configuration.group)
        switch await deadLetters.copies.send(copy) {
        case .cancelled: return .left
        case .stored(let report):
            delivery.acknowledge()
            core.logger.notice(
                "Message given up, its dead letter is stored",
                metadata: [
                    "kafka_delivery": "\(delivery)", "kafka_attempt": "\(delivery.attempt)",
                    "kafka_error": "\(givenUp.error)",
                    "kafka_dead_letter": "\(report.topic) [\(report.partition)] at \(report.offset)",
                ]
            )
            core.events.send(.deadLettered(delivery.source, report))
            return .settled
        case .failed(let error):
            core.events.send(.deadLetterFailed(delivery.source, error))
            return backOff(givenUp, delivery, copy.message().topic, error)
        case .refused(let error, let letter):
            var givenUp = givenUp
            if !givenUp.isCalledUnstorable { core.noteRefusal(of: letter, delivery, error, deadLetters.onRefusal) }
            givenUp.isCalledUnstorable = true
            guard case .handOver(let store) = deadLetters.onRefusal else {
                core.events.send(.deadLetterFailed(delivery.source, error))
                return backOff(givenUp, delivery, letter.topic, error)
            }
            do {
                try await store(delivery, letter, error)
            } catch let storeError {
                if Task.isCancelled { return .left }
                core.events.send(.deadLetterFailed(delivery.source, error))
                return backOff(givenUp, delivery, letter.topic, storeError)
            }
            delivery.acknowledge()
            core.events.send(.handedOver(delivery.source))
            return .settled
        }
    }

    private func backOff(
        _ givenUp: GivenUp,
        _ delivery: KafkaConsumer.Delivery,
        _ topic: String,
        _ error: any Error
    ) -> Outcome {
        var givenUp = givenUp
        let delay = givenUp.noteFailure()
        core.logger.warning(
            "Copy of a message not published, tried again",
            metadata: [
                "kafka_delivery": "\(delivery)", "kafka_topic": "\(topic)", "kafka_error": "\(error)",
                "kafka_delay": "\(delay)",
            ]
        )
        // Before it can be handed out again.
        unpublished.put(givenUp, delivery)
        switch delivery.message.postpone(for: delay, holdingPartition: holdsPartition) {
        case .settled: return .backsOff
        case .ended: return .left
        case .repeated, .contradicted:
            // Somebody has settled it meanwhile.
            _ = unpublished.take(delivery)
            return delivery.message.outcomeOfVerdict ?? .left
        }
    }
}

extension ConsumerCore {
    /// Says that a dead letter can never be stored.
    func noteRefusal(
        of letter: KafkaMessage,
        _ delivery: KafkaConsumer.Delivery,
        _ error: KafkaError,
        _ choice: KafkaDeadLetters.Refusal
    ) {
        events.send(.deadLetterRefused(delivery.source, error))
        let metadata: Logger.Metadata = [
            "kafka_delivery": "\(delivery)", "kafka_topic": "\(letter.topic)", "kafka_error": "\(error)",
            "kafka_bytes": "\(letter.wireSize)",
        ]
        switch choice {
        case .hold:
            logger.error(
                "Message given up, and its dead letter can never be stored as it is: it holds back what comes after it",
                metadata: metadata
            )
        case .handOver:
            logger.notice(
                "Message given up, and its dead letter can never be stored: it is handed over",
                metadata: metadata
            )
        }
    }

    /// Refuses dead-letter and retry topics that cannot be, of those topics that are known before anything is read.
    func refuseTopics(_ retries: KafkaRetryTopics?, deadLetterTopic: ((String) -> String)?) throws(KafkaError) {
        let known = Set(configuration.topics.filter { !$0.hasPrefix("^") } + configuration.partitions.map(\.topic))
        let retryTopics = Set(known.flatMap { retries?.topics(of: $0) ?? [] })
        for topic in known.subtracting(retryTopics).sorted() {
            for name in retries?.topics(of: topic) ?? [] {
                if let error = KafkaMessage.refusal(ofTopic: name) {
                    throw .invalidConfiguration("\(topic) has no possible retry topic: \(error.reason)")
                }
            }
            if let name = deadLetterTopic?(topic), let error = KafkaMessage.refusal(ofTopic: name) {
                throw .invalidConfiguration("\(topic) has no possible dead-letter topic: \(error.reason)")
            }
        }
    }
}

extension ReceivedMessage {
    /// What the verdict that somebody gave came to; nil where nobody did.
    fileprivate var outcomeOfVerdict: FailureHandling.Outcome? {
        guard hasVerdict else { return nil }
        return reader.isUnsettled(sequence) ? .backsOff : .settled
    }
}

extension KafkaConsumer.Delivery {
    /// Where it is from, without keeping its bytes.
    var source: KafkaConsumer.Event.Source {
        KafkaConsumer.Event.Source(partition: message.reader.partition, offset: offset)
    }
}
