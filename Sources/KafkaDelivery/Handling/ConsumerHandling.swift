internal import Logging

/// What ``FailureHandling`` asks of a consumer: retry topics, dead-letter topics, log lines and events.
struct ConsumerHandling: HandlingHost {
    typealias Delivery = KafkaConsumer.Delivery
    typealias Origin = MessageOrigin
    typealias Receipt = KafkaDeliveryReport
    typealias Letter = KafkaMessage
    typealias Failure = KafkaError
    typealias RetryRoute = KafkaRetryTopics.Route

    let core: ConsumerCore
    let retryTopics: KafkaRetryTopics?
    let deadLetters: KafkaDeadLetters?

    // MARK: What comes before the handler

    /// Holds back a delivery of a retry topic that is not due, and with it what comes after it in its partition: that is
    /// due later still.
    func holdsBack(_ delivery: Delivery) -> Bool {
        guard let wait = retryTopics?.wait(of: delivery, now: core.backoff.timestamp) else { return false }
        _ = delivery.postpone(for: wait, holdingOthers: true)
        return true
    }

    func failureBeforeHandling(_ delivery: Delivery) -> (any Error)? {
        guard let crashes = delivery.crashes, deadLetters != nil else { return nil }
        return KafkaPoisonMessage(crashes: crashes)
    }

    func record(_ error: any Error, of delivery: Delivery) -> Record {
        let origin = retryTopics?.origin(of: delivery).0 ?? MessageOrigin(delivery)
        return FailureRecord(error, attempts: origin.attempts, origin: origin)
    }

    // MARK: Lanes

    func runningHandlers(_ body: () async throws -> Void) async rethrows {
        try await HandlerTask.run(core, body)
    }

    func laneEpoch(_ delivery: Delivery) -> LaneEpoch {
        LaneEpoch(generation: delivery.generation, restarts: core.restartCount)
    }

    // MARK: Publishing

    func retryRoute(after record: Record) -> RetryRoute? { retryTopics?.next(after: record.origin) }

    func publish(
        _ record: Record,
        of delivery: Delivery,
        to route: RetryRoute
    ) async -> ConfirmedCopy.Outcome {
        // Routes come from these topics only.
        guard let retryTopics else { return .cancelled }
        let copy = retryTopics.copy(
            of: delivery,
            record.origin,
            to: route.topic,
            due: core.backoff.timestamp.advanced(by: route.delay),
            record.error,
            group: core.configuration.group
        )
        return await retryTopics.copies.send(copy)
    }

    var hasDeadLetters: Bool { deadLetters != nil }

    func publishDeadLetter(_ record: Record, of delivery: Delivery) async throws -> ConfirmedCopy.Outcome {
        // Asked only where there are dead letters.
        guard let deadLetters, let copies = deadLetters.copies else { return .cancelled }
        let group = core.configuration.group
        let outcome = await copies.send(deadLetters.copy(of: delivery, record.origin, record.error, group: group))
        if case .stored = outcome {
            do {
                try await deadLetters.beforeSettling?(delivery)
            } catch HandlingStop.endLoop(let error) {
                throw error
            } catch {
                return .cancelled
            }
        }
        return outcome
    }

    var handsOverRefusedLetters: Bool {
        if case .handOver = deadLetters?.onRefusal { true } else { false }
    }

    func handOver(_ letter: KafkaMessage, of delivery: Delivery, _ error: KafkaError) async throws {
        guard case .handOver(let store) = deadLetters?.onRefusal else { return }
        try await store(delivery, letter, error)
        // A closure that has said that the message comes again has not taken it.
        guard !delivery.isRejected else { return }
        try await deadLetters?.beforeSettling?(delivery)
    }
}

// MARK: Log lines and events

extension ConsumerHandling {
    func note(_ note: HandlingNote<Self>, of delivery: Delivery) {
        let (logger, events) = (core.logger, core.events)
        switch note {
        case .redelivery(let attempt, let delay):
            events.send(.retried(delivery.source, attempt: attempt, after: delay))
        case .storedForRetry(let record, let report):
            logger.debug(
                "Message failed, to be handed over again from its retry topic",
                metadata: [
                    "kafka_delivery": "\(delivery)", "kafka_attempt": "\(record.attempts)",
                    "kafka_error": "\(record.error)",
                    "kafka_retry": "\(report.topic) [\(report.partition)] at \(report.offset)",
                ]
            )
            let delay = retryTopics?.delay(of: report.topic, original: record.origin.topic) ?? .zero
            events.send(
                .retried(delivery.source, attempt: record.attempts + 1, after: delay, retryTopic: report)
            )
        case .retryCopyFailed(let error):
            events.send(.retryFailed(delivery.source, error))
        case .retryCopyRefused(let error, let route):
            events.send(.retryFailed(delivery.source, error))
            logger.warning(
                "Message can never be stored in its retry topic, and is given up",
                metadata: ["kafka_delivery": "\(delivery)", "kafka_topic": "\(route.topic)", "kafka_error": "\(error)"]
            )
        case .deadLettered(let record, let report):
            logger.notice(
                "Message given up, its dead letter is stored",
                metadata: [
                    "kafka_delivery": "\(delivery)", "kafka_attempt": "\(delivery.attempt)",
                    "kafka_error": "\(record.error)",
                    "kafka_dead_letter": "\(report.topic) [\(report.partition)] at \(report.offset)",
                ]
            )
            events.send(.deadLettered(delivery.source, report))
        case .deadLetterFailed(let error):
            events.send(.deadLetterFailed(delivery.source, error))
        case .deadLetterRefused(let error, let letter):
            core.noteRefusal(of: letter, delivery, error, deadLetters?.onRefusal ?? .hold)
        case .handOverFailed(let refusal, let error):
            events.send(.deadLetterFailed(delivery.source, refusal.notHandedOver(error)))
        case .handedOver:
            events.send(.handedOver(delivery.source))
        case .clientDone(let copy, let error):
            logger.error(
                "The producer of copies is closed or has failed: the message stays unsettled until a loop has a new one",
                metadata: [
                    "kafka_delivery": "\(delivery)", "kafka_topic": "\(topic(of: copy))", "kafka_error": "\(error)",
                ]
            )
        case .copyPostponed(let copy, let error, let delay):
            logger.warning(
                "Copy of a message not published, tried again",
                metadata: [
                    "kafka_delivery": "\(delivery)", "kafka_topic": "\(topic(of: copy))", "kafka_error": "\(error)",
                    "kafka_delay": "\(delay)",
                ]
            )
        }
    }

    /// Where a copy was to be stored.
    private func topic(of copy: Copy) -> String {
        switch copy.destination {
        case .retry(let route): route.topic
        case .deadLetters: deadLetters?.topicName(copy.record.origin.topic) ?? ""
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

// MARK: A delivery, and what handed it out

extension PartitionReader: DeliverySource {}

extension MadeDelivery: DeliverySource {
    @usableFromInline
    package func isCurrent(_ sequence: DeliverySequence) -> Bool { true }
}

extension KafkaConsumer.Delivery: SettleableDelivery {
    @usableFromInline
    package var deliverySource: any DeliverySource {
        switch content {
        case .received(let received): received.reader
        case .made(let made): made
        }
    }

    @usableFromInline
    package var deliverySequence: DeliverySequence { received?.sequence ?? 0 }
    @usableFromInline
    package var isCurrent: Bool { received?.isCurrent ?? true }
    @usableFromInline
    package var orderKey: KafkaBytes? { key }
    @usableFromInline
    package var isPartOfTransaction: Bool { received?.isClaimed ?? false }

    @usableFromInline
    package var settlement: HandlingOutcome? {
        switch content {
        case .received(let received):
            guard received.hasVerdict else { return nil }
            if received.reader.isUnsettled(received.sequence) { return .backsOff }
            return received.isRejected ? .left : .settled
        case .made(let made):
            return made.verdict.map { if case .acknowledged = $0 { .settled } else { .backsOff } }
        }
    }

    /// Whether a verdict on it would count: its partition is still ours, and was not sought elsewhere since.
    @usableFromInline
    package var takesVerdict: Bool { received.map { $0.reader.takesVerdict(on: $0.sequence) } ?? true }

    /// Whether this attempt was said to come again, also where that was too late to count.
    package var isRejected: Bool {
        switch content {
        case .received(let received): received.isRejected
        case .made(let made): if case .rejected = made.verdict { true } else { false }
        }
    }

    @usableFromInline
    package func negativelyAcknowledge(
        _ error: any Error,
        after delay: Duration,
        holdingOthers holdsOthers: Bool
    ) {
        reject(error, after: delay, holdingPartition: holdsOthers)
    }

    @usableFromInline
    package func postpone(for delay: Duration, holdingOthers holdsOthers: Bool) -> VerdictEffect {
        switch content {
        case .received(let received): received.postpone(for: delay, holdingPartition: holdsOthers)
        case .made(let made): made.give(.rejected(nil, after: delay)) ? .settled : .repeated
        }
    }

    /// Where it is from, without keeping its bytes.
    var source: KafkaConsumer.Event.Source {
        KafkaConsumer.Event.Source(partition: topicPartition, offset: offset)
    }
}
