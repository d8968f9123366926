internal import DequeModule

/// Messages that have their outcomes.
struct FinishedSends {
    var sends: [(QueuedSend, SendResult)] = []
    /// Metrics that are due.
    var reports: [PublisherMetrics.Report] = []

    mutating func add(_ send: QueuedSend, _ result: SendResult) { sends.append((send, result)) }

    mutating func fail(_ send: QueuedSend, _ error: RabbitError) { add(send, .failure(error)) }
}

/// What a publisher's thread keeps: what waits, and what is unconfirmed. A value; it never resumes anybody.
struct PublisherThread {
    private let timeout: Duration
    private let maximumUnconfirmed: Int
    private var metrics: PublisherMetrics?
    private let metricsInterval: Duration

    private var waiting: Deque<QueuedSend> = []
    private var tracker = ConfirmTracker()
    private var answered: [ConfirmTracker.Resolution] = []
    private var generation = 0
    var isBlocked = false
    /// Why there is no connection, for those who wait for one too long.
    var lastProblem: RabbitError?
    private(set) var wantsEnd = false
    private var isClosing = false
    private(set) var summary = RabbitPublisher.CloseSummary()

    init(_ configuration: RabbitPublisher.Configuration) {
        timeout = configuration.confirmTimeout
        maximumUnconfirmed = configuration.maximumUnconfirmed
        metricsInterval = configuration.metricsInterval
        metrics = PublisherMetrics(
            name: configuration.broker.connectionName ?? "publisher",
            factory: configuration.metricsFactory,
            interval: configuration.metricsInterval
        )
    }

    mutating func channelOpened(_ generation: Int) {
        self.generation = generation
        lastProblem = nil
    }

    mutating func take(_ arrivals: [QueuedSend]) {
        waiting.append(contentsOf: arrivals)
    }

    /// Takes those out that were recalled.
    mutating func dropRecalled(_ done: inout FinishedSends) {
        let before = waiting
        waiting = Deque(minimumCapacity: before.count)
        for send in before {
            if send.target.isFinished {
                finish(&done, send, .failure(.cancelled(persistence: .notPersisted)))
            } else {
                waiting.append(send)
            }
        }
    }

    /// The number of the oldest message without an outcome.
    var oldest: UInt64? { tracker.oldest?.number ?? waiting.first?.number }

    /// Encodes what waits, as long as what was encoded goes out.
    mutating func encode(to wire: Wire, maximumBacklog: Int, _ done: inout FinishedSends) {
        guard !isBlocked else { return }
        while wire.backlog < maximumBacklog, let send = waiting.popFirst() {
            guard send.target.beginEncoding() else {
                // It has its outcome: it was recalled.
                finish(&done, send, .failure(.cancelled(persistence: .notPersisted)))
                continue
            }
            let sequence = send.message.isMandatory ? tracker.nextSequence : nil
            guard wire.publish(send.message, sequence: sequence) else {
                let reason = "its properties do not fit into a frame of \(wire.frameMaximum) bytes"
                finish(
                    &done,
                    send,
                    .failure(
                        RabbitError(.messageTooLarge, persistence: .notPersisted, recovery: .fixRequest, reason: reason)
                    )
                )
                continue
            }
            tracker.add(send)
        }
    }

    // MARK: Answers

    mutating func received(_ method: ServerMethod, _ content: ReceivedContent?, _ wire: Wire) throws(RabbitError) {
        switch method {
        case .ack(let tag, _), .nack(let tag, _):
            // To take it for all that is there would confirm messages that it has not answered for.
            guard tag < tracker.nextSequence else {
                throw .protocolViolation(
                    "the broker answers for message \(tag), and \(tracker.nextSequence - 1) were sent"
                )
            }
        default: break
        }
        switch method {
        case .ack(let tag, let multiple): tracker.answer(tag, multiple: multiple, isAck: true, &answered)
        case .nack(let tag, let multiple): tracker.answer(tag, multiple: multiple, isAck: false, &answered)
        case .returned(let returned):
            // One without our number belongs to no message that wants to know.
            guard let sequence = wire.sequence(in: content?.properties ?? []) else { return }
            tracker.noteReturn(sequence, code: returned.code, text: returned.text)
        default: throw .protocolViolation("the broker said \(method) to a publisher")
        }
    }

    mutating func takeAnswered() -> FinishedSends {
        var done = FinishedSends()
        done.sends.reserveCapacity(answered.count)
        for resolution in answered {
            finish(&done, resolution.send, result(resolution))
        }
        answered.removeAll(keepingCapacity: true)
        return done
    }

    private func result(_ resolution: ConfirmTracker.Resolution) -> SendResult {
        switch resolution.outcome {
        case .confirmed:
            return .success(RabbitConfirmation(generation: generation, sequenceNumber: resolution.sequence))
        case .nacked:
            // With several queues, one of them may have refused it and the others not.
            let reason = "the broker did not take the message (basic.nack): a queue is full, or failed"
            return .failure(RabbitError(.nacked, persistence: .possiblyPersisted, recovery: .retry, reason: reason))
        case .returned(let code, let text):
            let message = resolution.send.message
            return .failure(
                RabbitError(
                    .returned,
                    persistence: .notPersisted,
                    recovery: .fixRequest,
                    reason:
                        "the message came back from exchange '\(message.exchange)', key '\(message.routingKey)': \(text)",
                    code: code,
                    returned: .init(code: code, text: text, message: message)
                )
            )
        }
    }

    // MARK: Ends

    mutating func channelLost(_ error: RabbitError, _ done: inout FinishedSends) {
        // Answers that were read before count.
        done.sends += takeAnswered().sends
        let lost = tracker.removeAll()
        let refusal = ChannelRefusal(error)
        for send in lost {
            let isCulprit = refusal.concerns(send.message, isAlone: lost.count == 1)
            finish(&done, send, .failure(error.about(.possiblyPersisted, recovery: isCulprit ? .fixRequest : .retry)))
        }
    }

    mutating func expire(at now: Moment, _ done: inout FinishedSends) {
        while let send = waiting.first, send.deadline <= now {
            waiting.removeFirst()
            let why = isBlocked ? "the broker is blocked" : "it could not be sent"
            finish(&done, send, .failure(timedOut(why).about(.notPersisted)))
        }
        var late: [QueuedSend] = []
        tracker.expire(at: now, &late)
        for send in late {
            finish(&done, send, .failure(timedOut("the broker has not confirmed it").about(.possiblyPersisted)))
        }
        if let due = metrics?.next, due <= now { takeReport(at: now, &done) }
    }

    private mutating func takeReport(at now: Moment, _ done: inout FinishedSends) {
        guard let report = metrics?.takeReport(inFlight: waiting.count + tracker.count, at: now) else { return }
        done.reports.append(report)
    }

    func timedOut(_ what: String) -> RabbitError {
        let problem = lastProblem.map { "; there is no connection: \($0.reason)" } ?? ""
        return RabbitError(.timedOut, recovery: .retry, reason: "\(what) within \(timeout)\(problem)")
    }

    var nextDeadline: Moment? {
        [waiting.first?.deadline, tracker.nextDeadline, metrics?.next].compactMap(\.self).min()
    }

    /// A channel that confirms nothing any more, though the broker answers otherwise, is of no use.
    var fault: RabbitError? {
        tracker.unanswered > maximumUnconfirmed
            ? .connectionLost("more than \(maximumUnconfirmed) messages were not confirmed in their time") : nil
    }

    mutating func advanceClosing(_ deadline: Moment, at now: Moment, _ done: inout FinishedSends) {
        isClosing = true
        if now >= deadline { fail(.closed(), &done) }
        if waiting.isEmpty, tracker.oldest == nil {
            takeReport(at: now, &done)
            wantsEnd = true
        }
    }

    /// Everything that has no outcome gets this one.
    mutating func fail(_ error: RabbitError, _ done: inout FinishedSends) {
        done.sends += takeAnswered().sends
        for send in tracker.removeAll() {
            finish(&done, send, .failure(error.about(.possiblyPersisted)))
        }
        while let send = waiting.popFirst() { finish(&done, send, .failure(error.about(.notPersisted))) }
    }

    private mutating func finish(_ done: inout FinishedSends, _ send: QueuedSend, _ result: SendResult) {
        done.add(send, result)
        switch result {
        case .success: metrics?.noteConfirmed(since: send.accepted)
        case .failure(let error): metrics?.note(error)
        }
        guard isClosing else { return }
        switch result {
        case .success: summary.delivered += 1
        case .failure(let error) where error.persistence == .possiblyPersisted: summary.unknown += 1
        case .failure: summary.failed += 1
        }
    }
}
