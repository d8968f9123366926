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

    /// What becomes of a delivery that was given up.
    enum Publication {
        case ended(Outcome)
        /// The application is to store it, see ``handOver(_:_:)``.
        case refused(RefusedCopy)
    }

    /// A dead letter that can never be stored, for the application.
    struct RefusedCopy {
        let givenUp: GivenUp
        let letter: KafkaMessage
        let error: KafkaError
        let store: @Sendable (KafkaConsumer.Delivery, KafkaMessage, KafkaError) async throws -> Void
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
        case .givenUp(let givenUp): try await finish(givenUp, delivery)
        }
    }

    /// Publishes a delivery that was given up, or hands it over.
    func finish(_ givenUp: GivenUp, _ delivery: KafkaConsumer.Delivery) async throws -> Outcome {
        switch try await publish(givenUp, delivery) {
        case .ended(let outcome): outcome
        case .refused(let refused): await handOver(refused, delivery)
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
    func publish(_ givenUp: GivenUp, _ delivery: KafkaConsumer.Delivery) async throws -> Publication {
        guard delivery.message.isCurrent else { return .ended(.left) }
        if let outcome = delivery.message.outcomeOfVerdict { return .ended(outcome) }
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
    ) async throws -> Publication {
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
        case .cancelled: return .ended(.left)
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
            return .ended(.settled)
        case .failed(let error):
            core.events.send(.retryFailed(delivery.source, error))
            return .ended(backOff(noteEnd(givenUp, delivery, topic, error), delivery, topic, error))
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
    ) async -> Publication {
        let copy = deadLetters.copy(of: delivery, givenUp.origin, givenUp.error, group: core.configuration.group)
        switch await deadLetters.copies.send(copy) {
        case .cancelled: return .ended(.left)
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
            return .ended(.settled)
        case .failed(let error):
            core.events.send(.deadLetterFailed(delivery.source, error))
            let topic = copy.message().topic
            return .ended(backOff(noteEnd(givenUp, delivery, topic, error), delivery, topic, error))
        case .refused(let error, let letter):
            var givenUp = givenUp
            if !givenUp.isCalledUnstorable { core.noteRefusal(of: letter, delivery, error, deadLetters.onRefusal) }
            givenUp.isCalledUnstorable = true
            guard case .handOver(let store) = deadLetters.onRefusal else {
                core.events.send(.deadLetterFailed(delivery.source, error))
                return .ended(backOff(givenUp, delivery, letter.topic, error))
            }
            return .refused(RefusedCopy(givenUp: givenUp, letter: letter, error: error, store: store))
        }
    }

    /// Hands a delivery whose dead letter can never be stored over to the application. Where that says itself what becomes of the
    /// delivery, that counts.
    func handOver(_ refused: RefusedCopy, _ delivery: KafkaConsumer.Delivery) async -> Outcome {
        guard delivery.message.isCurrent, !Task.isCancelled else { return .left }
        if let outcome = delivery.message.outcomeOfVerdict { return outcome }
        do {
            try await refused.store(delivery, refused.letter, refused.error)
        } catch {
            if let outcome = delivery.message.outcomeOfVerdict { return outcome }
            if Task.isCancelled { return .left }
            core.events.send(.deadLetterFailed(delivery.source, refused.error.notHandedOver(error)))
            return backOff(refused.givenUp, delivery, refused.letter.topic, error)
        }
        if delivery.message.outcomeOfVerdict == .backsOff { return .backsOff }
        delivery.acknowledge()
        core.events.send(.handedOver(delivery.source))
        return .settled
    }

    /// Hands a delivery back that was given up, unpublished, behind one that holds its partition back.
    func putBack(_ givenUp: GivenUp, _ delivery: KafkaConsumer.Delivery) {
        unpublished.put(givenUp, delivery)
        if delivery.message.postpone(for: .zero, holdingPartition: holdsPartition) != .settled {
            _ = unpublished.take(delivery)
        }
    }

    /// Says once of a message that it waits for a producer that will never send it. The message is not to blame.
    private func noteEnd(
        _ givenUp: GivenUp,
        _ delivery: KafkaConsumer.Delivery,
        _ topic: String,
        _ error: KafkaError
    ) -> GivenUp {
        guard error.recovery == .recreateClient, !givenUp.isProducerCalledDone else { return givenUp }
        core.logger.error(
            "The producer of copies is closed or has failed: the message stays unsettled until a loop has a new one",
            metadata: ["kafka_delivery": "\(delivery)", "kafka_topic": "\(topic)", "kafka_error": "\(error)"]
        )
        var givenUp = givenUp
        givenUp.isProducerCalledDone = true
        return givenUp
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

extension KafkaError {
    /// The same of a letter that the application did not take either.
    fileprivate func notHandedOver(_ error: any Error) -> KafkaError {
        let reason = "\(reason); it was not handed over either: \(error)"
        return KafkaError(kind, persistence: persistence, recovery: recovery, reason: reason, code: code)
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
