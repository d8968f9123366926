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
        delivery.acknowledge()
        return .settled
    }

    func failed(_ delivery: KafkaConsumer.Delivery, _ error: any Error) async throws -> Outcome {
        if Task.isCancelled { return .left }
        switch retry.decide(attempt: delivery.attempt, error: error) {
        case .retry(let delay):
            delivery.reject(error, after: delay, holdingPartition: holdsPartition)
            core.events.send(.redelivery(delivery.source, attempt: delivery.attempt + 1, after: delay))
            return .backsOff
        case .giveUp:
            guard let deadLetters else { throw error }
            return try await giveUp(delivery, error, to: deadLetters)
        }
    }

    /// Only when the dead letter is confirmed is the original settled.
    private func giveUp(
        _ delivery: KafkaConsumer.Delivery,
        _ error: any Error,
        to deadLetters: KafkaDeadLetters
    ) async throws -> Outcome {
        let report: KafkaDeliveryReport?
        do {
            report = try await deadLetters.publish(
                delivery,
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

extension KafkaConsumer.Delivery {
    /// Where it is from, without keeping its bytes.
    var source: KafkaConsumer.Event.Source {
        KafkaConsumer.Event.Source(partition: message.reader.partition, offset: offset)
    }
}
