internal import DeliveryCore
internal import Logging
internal import Synchronization

/// A consumer behind its public face.
final class ConsumerCore: ConnectionClient {
    let configuration: RabbitConsumer.Configuration
    let logger: Logger
    let events = EventHub()
    let connected = ConnectedState()
    let wakeUp: WakePipe
    // Loops and verdicts on any task meet the connection's thread here. No continuation is resumed while it is held.
    let queue: Mutex<DeliveryQueue>
    private let ending = EndOfClient<RabbitConsumer.CloseSummary>()
    /// Used by the connection's thread, and by the tasks that start or close it.
    private let life: Mutex<ConsumerLife>

    init(_ configuration: RabbitConsumer.Configuration, logger: Logger) throws(RabbitError) {
        try configuration.validate()
        try ConnectionThread.checkFiles(configuration.broker)
        guard let wakeUp = WakePipe() else { throw .connectionLost("the system has no descriptors left") }
        self.configuration = configuration
        self.logger = logger
        self.wakeUp = wakeUp
        queue = Mutex(DeliveryQueue(isStream: configuration.isStream))
        life = Mutex(ConsumerLife(configuration))
    }

    /// Starts the thread, with the first loop. What a loop needs besides is declared too, where it comes before that.
    func start(_ topology: RabbitTopology = RabbitTopology()) throws(RabbitError) {
        let isFirst = life.withLock { $0.start(topology) }
        guard isFirst else { return }
        do throws(RabbitError) {
            try ConnectionThread.start(configuration.broker, self, wakeUp, role: "consumer")
        } catch {
            // There is no thread: whatever waits for one, or will, is told here, and closing has none to wait for.
            let isClosing = life.withLock { $0.startFailed() }
            note(.failed(error))
            failed(error)
            if isClosing { ended() }
            throw error
        }
    }

    // MARK: Loops

    func next() async -> Result<ReceivedMessage?, RabbitError> {
        if let now = queue.withLock({ $0.next() }) { return now }
        return await waitCancellably { id, continuation in
            if let now = queue.withLock({ $0.wait(id, continuation) }) { continuation.resume(returning: now) }
        } onCancel: { id in
            self.queue.withLock { $0.removeWaiter(id) }?.resume(returning: .success(nil))
        }
    }

    /// The same, for so long at most.
    ///
    /// - Returns: Nil as the message where none came in time.
    func next(within limit: Duration) async -> Result<ReceivedMessage?, RabbitError> {
        if let now = queue.withLock({ $0.next() }) { return now }
        return await withTaskGroup(of: Result<ReceivedMessage?, RabbitError>.self) { group in
            group.addTask { await self.next() }
            group.addTask {
                // Time is what is waited for.
                try? await Task.sleep(for: limit.asWait)
                return .success(nil)
            }
            let first = await group.next() ?? .success(nil)
            group.cancelAll()
            // A message that came in the moment when the time was over is the other's result.
            if case .success(nil) = first, let other = await group.next() { return other }
            return first
        }
    }

    // MARK: Verdicts

    func isCurrent(_ generation: Int, _ tag: UInt64) -> Bool {
        queue.withLock { $0.isCurrent(generation, tag) }
    }

    func acknowledge(_ message: ReceivedMessage) {
        switch message.settle(.acknowledged) {
        case .settled: break
        case .contradicted:
            // What was rejected for the broker to store elsewhere is as finished.
            if message.verdict.load(ordering: .relaxed) != .rejected { noteContradiction(message) }
            return
        case .repeated, .ended: return
        }
        let threshold = answerThreshold
        let wakes = queue.withLock { queue in
            let wasIdle = queue.answersDue == nil
            guard queue.acknowledge(message, at: .now, interval: configuration.acknowledgementInterval) else {
                return false
            }
            return wasIdle || queue.tracker.untold == threshold || queue.isClosing
        }
        if wakes { wakeUp.ring() }
    }

    func reject(_ message: ReceivedMessage, requeue: Bool) -> VerdictEffect {
        let effect = message.settle(.rejected)
        switch effect {
        case .settled:
            guard queue.withLock({ $0.reject(message, requeue: requeue) }) else { return .ended }
            wakeUp.ring()
        case .contradicted: noteContradiction(message)
        case .repeated, .ended: break
        }
        return effect
    }

    func backOff(
        _ message: ReceivedMessage,
        after delay: Duration,
        holdsOthers: Bool,
        countsAttempt: Bool
    ) -> VerdictEffect {
        let effect = message.settle(.backsOff)
        switch effect {
        case .settled:
            let due = Moment.now.advanced(by: min(max(delay, .zero), configuration.maximumBackoff))
            let counts = queue.withLock { queue in
                queue.backOff(message, until: due, holdsOthers: holdsOthers, countsAttempt: countsAttempt)
            }
            guard counts else { return .ended }
            wakeUp.ring()
        case .contradicted: noteContradiction(message)
        case .repeated, .ended: break
        }
        return effect
    }

    func released(_ message: ReceivedMessage) {
        guard message.verdict.load(ordering: .acquiring) == .none else { return }
        let isClosing = queue.withLock { queue in
            queue.release(message)
            return queue.isClosing
        }
        if isClosing { wakeUp.ring() }
    }

    private func noteContradiction(_ message: ReceivedMessage) {
        note(.contradictingVerdict(queue: configuration.queue))
    }

    private var answerThreshold: Int { max(1, configuration.prefetch / 4) }

    // MARK: The end

    func beginClosing(within timeout: Duration) {
        let isRunning = life.withLock { $0.close(by: Moment.now.advanced(by: timeout.asWait)) }
        let waiters = queue.withLock { $0.close() }
        for waiter in waiters { waiter.resume(returning: .success(nil)) }
        if isRunning { wakeUp.ring() } else { ended() }
    }

    @discardableResult
    func close(within timeout: Duration) async -> RabbitConsumer.CloseSummary {
        beginClosing(within: timeout)
        return await ending.wait()
    }

    // MARK: The connection's thread

    var channelRequests: [ClientMethod] {
        let offset = queue.withLock { $0.resumeOffset }
        return life.withLock { $0.channelRequests(resumingAt: offset) }
    }

    func channelOpened(_ generation: Int, _ setup: ChannelSetup, _ wire: Wire) {
        life.withLock { $0.opened(setup) }
        let channel = ChannelGeneration(generation, self)
        queue.withLock { $0.begin(channel) }
    }

    /// How many messages the queue had when its channel was opened, where that was asked for.
    func messageCount(of name: String) -> Int? { life.withLock { $0.messageCounts[name] } }

    func advance(_ wire: Wire?, at now: Moment) -> Moment? {
        let (handed, answers, next, ending, totals) = queue.withLock { queue in
            let handed = queue.wake(at: now)
            let answers = wire == nil ? [] : queue.takeAnswers(at: now, threshold: answerThreshold)
            let next = [queue.nextWake, queue.answersDue].compactMap(\.self).min()
            // Of one moment with the answers: the channel is closed behind the last of them, and a task may be acknowledging and closing
            // between here and there.
            let ending = queue.isClosing ? queue.inHand : nil
            return (handed, answers, next, ending, (queue.totals, queue.tracker.unsettled))
        }
        for (waiter, message) in handed { waiter.resume(returning: .success(message)) }
        if let wire { for answer in answers { wire.send(answer) } }
        let (methods, deadline, report) = life.withLock { life in
            let report = life.takeReport(totals.0, unsettled: totals.1, at: now)
            let methods =
                ending.map { life.advanceClosing(inHand: $0, at: now, hasChannel: wire != nil) } ?? []
            return (methods, life.nextDeadline, report)
        }
        report?.handOn()
        for method in methods {
            // What was acknowledged since the answers were taken goes before the close, and what is later is late.
            if case .channelClose = method {
                for answer in queue.withLock({ $0.takeLastAnswers() }) { wire?.send(answer) }
            }
            wire?.send(method)
        }
        return [next, deadline].compactMap(\.self).min()
    }

    func received(_ method: ServerMethod, _ content: ReceivedContent?, _ wire: Wire) throws(RabbitError) {
        switch method {
        case .deliver(let deliver):
            let content = content ?? ReceivedContent(properties: [], body: [])
            life.withLock { $0.arrived.append((deliver, content)) }
        case .cancel:
            // Its queue was deleted, or moves: another connection declares what is declared here, and finds out.
            throw RabbitError(
                .consumerCancelled,
                recovery: .retry,
                reason: "the broker ended the consumer: queue \(configuration.queue) was deleted, or has moved"
            )
        case .cancelOk: life.withLock { $0.noteCancelled() }
        case .channelCloseOk: life.withLock { $0.noteChannelClosed() }
        default: throw .protocolViolation("the broker said \(method) to a consumer")
        }
    }

    func endOfInput() {
        let arrived = life.withLock { life in
            defer { life.arrived.removeAll(keepingCapacity: true) }
            return life.arrived
        }
        guard !arrived.isEmpty else { return }
        do throws(RabbitError) {
            let handed = try queue.withLock { queue throws(RabbitError) in try queue.add(arrived) }
            for (waiter, message) in handed { waiter.resume(returning: .success(message)) }
        } catch {
            life.withLock { $0.fault = error }
        }
    }

    func channelLost(_ error: RabbitError) {
        life.withLock { $0.lost() }
        queue.withLock { $0.end() }
    }

    func setBlocked(_ isBlocked: Bool) {}

    var connectionFault: RabbitError? { life.withLock { $0.fault } }

    func note(_ event: RabbitEvent) {
        connected.note(event)
        event.log(to: logger)
        let metrics = life.withLock { $0.metrics }
        metrics?.note(event)
        events.send(event)
    }

    func failed(_ error: RabbitError) {
        let waiters = queue.withLock { $0.fail(error) }
        for waiter in waiters { waiter.resume(returning: .failure(error)) }
    }

    var wantsEnd: Bool { life.withLock { $0.wantsEnd } }

    func ended() {
        let (waiters, inHand, totals) = queue.withLock { queue in
            let (inHand, totals) = (queue.inHand, queue.totals)
            return (queue.close(), inHand, totals)
        }
        for waiter in waiters { waiter.resume(returning: .success(nil)) }
        let (isAnswered, report) = life.withLock { life in
            (life.isChannelClosed, life.takeReport(totals, unsettled: 0, at: .now, isLast: true))
        }
        report?.handOn()
        ending.end(
            RabbitConsumer.CloseSummary(
                unsettled: max(inHand, 0),
                lateVerdicts: totals.late,
                acknowledgementsReachedBroker: isAnswered
            )
        )
        queue.withLock { $0.end() }
        connected.end(.closed(persistence: nil))
        events.finish()
    }
}
