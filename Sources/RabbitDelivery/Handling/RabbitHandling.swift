/// What ``FailureHandling`` asks of a consumer: retry queues, dead letters, events.
struct RabbitHandling: HandlingHost {
    typealias Delivery = RabbitConsumer.Delivery
    typealias Origin = RabbitOrigin
    typealias Receipt = RabbitReceipt
    typealias Letter = RabbitMessage
    typealias Failure = RabbitError

    /// A retry queue, and how long messages wait in it.
    struct RetryRoute: Sendable {
        let queue: String
        let delay: Duration
    }

    /// Where a copy is.
    enum RabbitReceipt: Sendable {
        case published(exchange: String, routingKey: String, after: Duration?)
        case rejected
    }

    let core: ConsumerCore
    let retryQueues: RabbitRetryQueues?
    let deadLetters: RabbitDeadLetters?
    /// How many attempts the policy makes in place, each time a message comes.
    let attemptsInPlace: Int?

    private var queue: String { core.configuration.queue }

    func holdsBack(_ delivery: Delivery) -> Bool { false }

    func failureBeforeHandling(_ delivery: Delivery) -> (any Error)? { nil }

    func record(_ error: any Error, of delivery: Delivery) -> Record {
        let origin = RabbitOrigin(delivery, queue: queue)
        return FailureRecord(error, attempts: origin.attempts, origin: origin)
    }

    func runningHandlers(_ body: () async throws -> Void) async rethrows { try await body() }

    func laneEpoch(_ delivery: Delivery) -> LaneEpoch { LaneEpoch(generation: delivery.generation, restarts: 0) }

    // MARK: Publishing

    /// Each queue once, in order: the attempts so far say which.
    func retryRoute(after record: Record) -> RetryRoute? {
        guard let retryQueues, let attemptsInPlace else { return nil }
        let round = (record.attempts - 1) / max(attemptsInPlace, 1)
        guard round >= 0, round < retryQueues.delays.count else { return nil }
        let delay = retryQueues.delays[round]
        return RetryRoute(queue: RabbitRetryQueues.name(of: delay, for: queue), delay: delay)
    }

    func publish(_ record: Record, of delivery: Delivery, to route: RetryRoute) async
        -> CopyOutcome<RabbitReceipt, RabbitMessage, RabbitError>
    {
        guard let retryQueues else { return .cancelled }
        return await send(after: route.delay, through: retryQueues.publisher) { shedding in
            record.origin.copy(
                of: delivery,
                exchange: "",
                routingKey: route.queue,
                error: record.error,
                comesBack: true,
                without: shedding
            )
        }
    }

    var hasDeadLetters: Bool { deadLetters != nil }

    func publishDeadLetter(_ record: Record, of delivery: Delivery) async
        -> CopyOutcome<RabbitReceipt, RabbitMessage, RabbitError>
    {
        switch deadLetters?.way {
        case nil: return .cancelled
        case .reject:
            // Its verdict, which an acknowledgement after it does not change.
            switch delivery.message.channel.core?.reject(delivery.message, requeue: false) {
            case .settled, .repeated: return .stored(.rejected)
            // Its channel is gone: the broker delivers it again.
            case .contradicted, .ended, nil: return .cancelled
            }
        case .publish(let exchange, let routingKey, let publisher):
            let key = routingKey ?? record.origin.routingKey
            return await send(after: nil, through: publisher) { shedding in
                record.origin.copy(
                    of: delivery,
                    exchange: exchange,
                    routingKey: key,
                    error: record.error,
                    comesBack: false,
                    without: shedding
                )
            }
        }
    }

    /// Sends a copy, with less of what was added where it does not fit.
    private func send(
        after delay: Duration?,
        through publisher: RabbitPublisher,
        _ make: (CopyHeader.Shedding) -> RabbitMessage
    ) async -> CopyOutcome<RabbitReceipt, RabbitMessage, RabbitError> {
        var outcome = CopyOutcome<RabbitReceipt, RabbitMessage, RabbitError>.cancelled
        for shedding in CopyHeader.Shedding.allCases {
            let copy = make(shedding)
            do throws(RabbitError) {
                try await publisher.send(copy)
                return .stored(.published(exchange: copy.exchange, routingKey: copy.routingKey, after: delay))
            } catch {
                outcome =
                    switch error.kind {
                    case .cancelled: .cancelled
                    case .messageTooLarge, .invalidArgument: .refused(error, copy)
                    // Also what came back, and an exchange that is missing: a binding that was forgotten may come.
                    default: .failed(error)
                    }
                if error.kind != .messageTooLarge { break }
            }
        }
        return outcome
    }

    var handsOverRefusedLetters: Bool { false }

    func handOver(_ letter: RabbitMessage, of delivery: Delivery, _ error: RabbitError) async throws {}

    // MARK: Events

    func note(_ note: HandlingNote<Self>, of delivery: Delivery) {
        switch note {
        case .redelivery(let attempt, let delay): core.note(.redelivery(queue: queue, attempt: attempt, after: delay))
        case .storedForRetry(let record, .published(_, _, let delay)):
            core.note(.retried(queue: queue, attempt: record.attempts + 1, after: delay ?? .zero))
        case .storedForRetry: break
        case .deadLettered(_, .published(let exchange, let routingKey, _)):
            core.note(.deadLettered(queue: queue, exchange: exchange, routingKey: routingKey))
        case .deadLettered(_, .rejected): core.note(.rejected(queue: queue))
        case .deadLetterFailed(let error), .retryCopyFailed(let error), .clientDone(_, let error),
            .retryCopyRefused(let error, _), .handOverFailed(let error, _):
            core.note(.deadLetterFailed(error))
        case .deadLetterRefused(let error, _): core.note(.deadLetterRefused(error))
        case .handedOver, .copyPostponed: break
        }
    }
}
