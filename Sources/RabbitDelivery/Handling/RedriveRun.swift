internal import DequeModule

/// One run of a redrive: letters are read, decided on, sent; and acknowledged when their replays are confirmed.
struct RedriveRun {
    /// How many replays are unconfirmed at a time.
    static let window = 64

    private let configuration: RabbitRedrive.Configuration
    private let publisher: RabbitPublisher?
    private let redrive: RabbitRedrive
    private(set) var summary = RabbitRedrive.Summary()
    private var underWay: Deque<(RabbitConsumer.Delivery, RabbitPublisher.PendingConfirmation)> = []
    /// Letters that are left, held so that the broker does not send them again.
    private var held: [RabbitConsumer.Delivery] = []
    private var nextSend = ContinuousClock.now

    init(_ configuration: RabbitRedrive.Configuration, _ publisher: RabbitPublisher?, _ redrive: RabbitRedrive) {
        self.configuration = configuration
        self.publisher = publisher
        self.redrive = redrive
    }

    mutating func read(
        _ consumer: RabbitConsumer,
        _ observer: (RabbitConsumer.Delivery, RabbitRedrive.Decision) -> Void
    ) async throws(RabbitError) {
        try consumer.core.start()
        // Not before the queue has said how much it holds: an empty one hands nothing out.
        try await consumer.core.connected.wait(within: RabbitRedrive.connectionTimeout)
        let count = consumer.core.messageCount(of: configuration.queue) ?? 0
        var generation: Int?
        for _ in 0..<min(count, configuration.maximumLetters ?? .max) {
            // Another consumer may have taken what was counted, or its time was over.
            guard held.count < configuration.maximumHeld,
                let letter = try await consumer.core.next(within: configuration.maximumWait).get().map({
                    RabbitConsumer.Delivery($0)
                })
            else {
                summary.isPartial = true
                break
            }
            // After a reconnect the broker sends again what was held: to count on would be to send a letter twice.
            if letter.generation != generation ?? letter.generation {
                summary.isPartial = true
                break
            }
            generation = letter.generation
            let decision = redrive.decide(letter)
            observer(letter, decision)
            try await take(letter, decision)
        }
    }

    private mutating func take(_ letter: RabbitConsumer.Delivery, _ decision: RabbitRedrive.Decision)
        async throws(RabbitError)
    {
        switch decision {
        case .unwanted:
            summary.unwanted += 1
            held.append(letter)
        case .tooOften:
            summary.tooOften += 1
            held.append(letter)
        case .noOrigin:
            summary.withoutOrigin += 1
            held.append(letter)
        case .send(let exchange, let routingKey, let redrives):
            guard let publisher else {
                summary.redriven += 1
                held.append(letter)
                return
            }
            try await waitForRate()
            if underWay.count >= Self.window { await settleFirst() }
            do throws(RabbitError) {
                let replay = RabbitRedrive.replay(letter, exchange, routingKey, redrives)
                underWay.append((letter, try await publisher.enqueue(replay)))
            } catch {
                if error.kind == .cancelled { throw error }
                fail(letter, error)
            }
        }
    }

    private mutating func waitForRate() async throws(RabbitError) {
        guard let rate = configuration.maximumPerSecond else { return }
        // Time is what is waited for: a rate is nothing else.
        do { try await Task.sleep(until: nextSend, clock: .continuous) } catch { throw .cancelled(persistence: nil) }
        nextSend = max(nextSend, .now - .seconds(1)).advanced(by: .seconds(1) / rate)
    }

    private mutating func settleFirst() async {
        guard let (letter, pending) = underWay.popFirst() else { return }
        do throws(RabbitError) {
            _ = try await Self.confirmation(of: pending)
            letter.acknowledge()
            summary.redriven += 1
        } catch {
            fail(letter, error)
        }
    }

    /// Also where the task is cancelled: a replay that was sent, and whose letter stays, is a message that is there twice. The confirmation
    /// has a deadline of its own.
    private static func confirmation(
        of pending: RabbitPublisher.PendingConfirmation
    ) async throws(RabbitError) -> RabbitConfirmation {
        do throws(RabbitError) {
            return try await pending.confirmation
        } catch {
            guard error.kind == .cancelled, Task.isCancelled else { throw error }
            return try await Task { () -> Result<RabbitConfirmation, RabbitError> in
                do throws(RabbitError) { return .success(try await pending.confirmation) } catch {
                    return .failure(error)
                }
            }.value.get()
        }
    }

    /// Notes whether the broker has said that it has the letters' acknowledgements.
    mutating func noteClosed(_ close: RabbitConsumer.CloseSummary) {
        summary.acknowledgementsReachedBroker = summary.redriven == 0 || close.acknowledgementsReachedBroker
    }

    private mutating func fail(_ letter: RabbitConsumer.Delivery, _ error: RabbitError) {
        summary.failed.append(error)
        held.append(letter)
    }

    /// Waits for the replays under way, and lets go of what is left.
    mutating func finish() async {
        while !underWay.isEmpty { await settleFirst() }
        held = []
    }
}
