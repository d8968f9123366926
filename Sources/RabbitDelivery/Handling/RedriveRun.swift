internal import DequeModule
internal import Synchronization

/// One run of a redrive: letters are read, decided on, sent; and acknowledged when their replays are confirmed.
struct RedriveRun {
    /// How many replays are unconfirmed at a time.
    static let window = 64

    private let configuration: RabbitRedrive.Configuration
    private let publisher: RabbitPublisher?
    private let redrive: RabbitRedrive
    private(set) var summary = RabbitRedrive.Summary()
    private var underWay: Deque<Replay> = []
    /// Exchanges that took a replay, or sent one back. The default one is always there.
    private var known: Set<String> = [""]
    /// Exchanges that are not there, and what the broker said.
    private var missing: [String: RabbitError] = [:]
    /// Whether each replay goes by itself: the broker has closed the channel for one.
    private var goesOneByOne = false
    /// Letters that are left, held so that the broker does not send them again.
    private var held: [RabbitConsumer.Delivery] = []
    /// How many were sent, or would be.
    private var sent = 0
    /// On which channel of the consumer's the letters were delivered.
    private var generation: Int?
    private var nextSend = ContinuousClock.now

    /// A letter, and its replay that is unconfirmed.
    private struct Replay {
        let letter: RabbitConsumer.Delivery
        let exchange: String
        let pending: RabbitPublisher.PendingConfirmation
    }

    init(_ configuration: RabbitRedrive.Configuration, _ publisher: RabbitPublisher?, _ redrive: RabbitRedrive) {
        self.configuration = configuration
        self.publisher = publisher
        self.redrive = redrive
    }

    mutating func read(
        _ consumer: RabbitConsumer,
        _ observer: (RabbitConsumer.Delivery, RabbitRedrive.Decision) -> Void
    ) async throws(RabbitError) {
        // Not before the queue has said how much it holds: an empty one hands nothing out.
        let count = try await consumer.readyCount(within: RabbitRedrive.connectionTimeout)
        for _ in 0..<max(count, 0) {
            // Another consumer may have taken what was counted, or its time was over.
            guard held.count < configuration.maximumHeld, sent < configuration.maximumLetters ?? .max,
                !Task.isCancelled,
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
            if let deliveries = letter.brokerDeliveryCount {
                summary.largestDeliveryCount = max(summary.largestDeliveryCount ?? 0, deliveries)
            }
            let decision = redrive.decide(letter)
            observer(letter, decision)
            guard await take(letter, decision) else {
                summary.isPartial = true
                break
            }
        }
    }

    /// - Returns: False where the task is cancelled, and the letter stays.
    private mutating func take(_ letter: RabbitConsumer.Delivery, _ decision: RabbitRedrive.Decision) async -> Bool {
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
                sent += 1
                held.append(letter)
                return true
            }
            if let error = missing[exchange] {
                fail(letter, error)
                return true
            }
            guard await waitForRate() else { return false }
            // For an exchange that is missing or not allowed the broker closes the channel. What is under way beside it may be stored, and
            // its letters would stay.
            let goesAlone = goesOneByOne || !known.contains(exchange)
            while underWay.count >= (goesAlone ? 1 : Self.window) { await settleFirst() }
            do throws(RabbitError) {
                let replay = RabbitRedrive.replay(letter, exchange, routingKey, redrives)
                let pending = try await publisher.enqueue(replay)
                underWay.append(Replay(letter: letter, exchange: exchange, pending: pending))
                sent += 1
            } catch {
                if error.kind == .cancelled { return false }
                fail(letter, error)
            }
            if goesAlone { await settleFirst() }
        }
        return true
    }

    /// - Returns: False where the task is cancelled.
    private mutating func waitForRate() async -> Bool {
        guard let rate = configuration.maximumPerSecond else { return true }
        // Time is what is waited for: a rate is nothing else.
        do { try await Task.sleep(until: nextSend, clock: .continuous) } catch { return false }
        nextSend = max(nextSend, .now - .seconds(1)).advanced(by: .seconds(1) / rate)
        return true
    }

    private mutating func settleFirst() async {
        guard let replay = underWay.popFirst() else { return }
        do throws(RabbitError) {
            _ = try await Self.confirmation(of: replay.pending)
            replay.letter.acknowledge()
            summary.redriven += 1
            known.insert(replay.exchange)
        } catch {
            fail(replay.letter, error)
            switch error.kind {
            case .returned, .nacked: known.insert(replay.exchange)
            case .notFound where !known.contains(replay.exchange): missing[replay.exchange] = error
            case .notFound, .authorization, .channelClosed: goesOneByOne = true
            default: break
            }
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

    /// Closes the consumer, and notes whether the broker has said that it has the letters' acknowledgements. With the channel what is left
    /// goes back to its place in the queue.
    mutating func close(_ consumer: RabbitConsumer) async {
        // What was acknowledged on a channel that was lost may not have come to the broker, however its last one is closed.
        let isSameChannel = consumer.core.queue.withLock { $0.generation } == generation
        let end = await consumer.close(within: .seconds(10))
        guard publisher != nil, summary.redriven > 0 else { return }
        summary.acknowledgementsReachedBroker =
            isSameChannel && end.acknowledgementsReachedBroker && end.lateVerdicts == 0
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
