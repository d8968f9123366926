internal import Logging

/// What happens to a delivery whose handler ended: the one place where a verdict follows from an outcome.
struct FailureHandling: Sendable {
    enum Outcome {
        /// Finished, whether handled or dead-lettered.
        case settled
        /// It is handed over again.
        case backsOff
        /// Left unsettled: the task was cancelled, or the partition went away.
        case left
    }

    let core: ConsumerCore
    let retry: KafkaRetryPolicy
    let deadLetters: KafkaDeadLetters?
    /// Whether backing off holds the whole partition back.
    let holdsPartition: Bool

    /// Runs a handler for one delivery. Returning acknowledges, throwing negatively acknowledges or gives up,
    /// cancellation leaves it unsettled.
    ///
    /// - Throws: The handler's error where the message is given up and there is nowhere to put it.
    func run(
        _ delivery: KafkaConsumer.Delivery,
        _ handler: (KafkaConsumer.Delivery) async throws -> Void
    ) async throws -> Outcome {
        if let starts = delivery.message.fatalStarts, let deadLetters {
            return try await giveUp(delivery, KafkaPoisonMessage(starts: starts), to: deadLetters)
        }
        do {
            try await handler(delivery)
        } catch {
            return try await failed(delivery, error)
        }
        if let outcome = delivery.message.outcomeOfVerdict { return outcome }
        delivery.acknowledge()
        return .settled
    }

    func failed(_ delivery: KafkaConsumer.Delivery, _ error: any Error) async throws -> Outcome {
        // The handler has said what becomes of it. It is not to be given up as well.
        if let outcome = delivery.message.outcomeOfVerdict { return outcome }
        if Task.isCancelled { return .left }
        switch retry.decide(attempt: delivery.attempt, error: error) {
        case .retry(let delay):
            delivery.reject(error, after: delay, holdingPartition: holdsPartition)
            core.events.send(.redelivery(delivery.source, attempt: delivery.attempt + 1, after: delay))
            return .backsOff
        case .giveUp:
            // What was part of a transaction that was aborted is handed out again whatever is said here: its copy elsewhere
            // would be one more each time.
            if delivery.message.isClaimed { throw error }
            let origin = retry.topics?.origin(of: delivery).0 ?? MessageOrigin(delivery)
            if let topics = retry.topics, retry.isWorthAnotherAttempt(error), let next = topics.next(after: origin) {
                return await moveOn(delivery, origin, error, to: next, of: topics)
            }
            guard let deadLetters else { throw error }
            return try await giveUp(delivery, error, to: deadLetters)
        }
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

    /// Only when its copy in the retry topic is confirmed is the original settled.
    private func moveOn(
        _ delivery: KafkaConsumer.Delivery,
        _ origin: MessageOrigin,
        _ error: any Error,
        to next: (topic: String, delay: Duration),
        of topics: KafkaRetryTopics
    ) async -> Outcome {
        let due = core.backoff.timestamp.advanced(by: next.delay)
        let report = try? await topics.publish(
            delivery,
            origin,
            to: next.topic,
            due: due,
            error,
            group: core.configuration.group,
            logger: core.logger,
            onFailure: { core.events.send(.retryFailed(delivery.source, $0)) }
        )
        guard let report else { return .left }
        delivery.acknowledge()
        core.logger.debug(
            "Message failed, to be handed over again from its retry topic",
            metadata: [
                "kafka_delivery": "\(delivery)", "kafka_attempt": "\(origin.attempts)", "kafka_error": "\(error)",
                "kafka_retry": "\(report.topic) [\(report.partition)] at \(report.offset)",
            ]
        )
        core.events.send(.retried(delivery.source, report, attempt: origin.attempts + 1))
        return .settled
    }

    /// Only when the dead letter is confirmed is the original settled.
    private func giveUp(
        _ delivery: KafkaConsumer.Delivery,
        _ error: any Error,
        to deadLetters: KafkaDeadLetters
    ) async throws -> Outcome {
        let report: KafkaDeliveryReport?
        let origin = retry.topics?.origin(of: delivery).0 ?? MessageOrigin(delivery)
        do {
            report = try await deadLetters.publish(
                delivery,
                origin,
                error,
                group: core.configuration.group,
                logger: core.logger,
                onFailure: { core.events.send(.deadLetterFailed(delivery.source, $0)) }
            )
        } catch {
            return .left
        }
        guard let report else { return .left }
        delivery.acknowledge()
        core.logger.notice(
            "Message given up, its dead letter is stored",
            metadata: [
                "kafka_delivery": "\(delivery)", "kafka_attempt": "\(delivery.attempt)", "kafka_error": "\(error)",
                "kafka_dead_letter": "\(report.topic) [\(report.partition)] at \(report.offset)",
            ]
        )
        core.events.send(.deadLettered(delivery.source, report))
        return .settled
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
