internal import Logging

/// Reads librdkafka's events, and keeps each message's promise. The producer's thread's alone: a value that only it has.
struct ReportReader: @unchecked Sendable {
    // Sendable because the task that makes the producer hands its only copy to the producer's thread, before that thread begins, and
    // no other thread has it from then on.

    /// The messages without an outcome.
    var inFlight = SendPath.InFlight()
    private(set) var metrics: ProducerMetrics?
    private let logger: Logger
    private let messageTimeout: Duration
    /// What explains errors. The producer's thread lets go of it when it has ended.
    private let client: Unmanaged<RdKafkaClient>
    /// When what librdkafka still has is given up, after a fatal error; nil before one.
    private var nextPurge: Moment?
    /// The last thing that was wrong with a connection, until a message gets through again.
    private var connectionError: KafkaError?

    init(metrics: ProducerMetrics?, logger: Logger, messageTimeout: Duration, client: Unmanaged<RdKafkaClient>) {
        self.metrics = metrics
        self.client = client
        self.logger = logger
        self.messageTimeout = messageTimeout
    }

    /// - Parameter path: Where senders put their messages before librdkafka has them.
    mutating func handle(_ event: borrowing RdKafkaEvent, _ path: borrowing SendPath) {
        switch event.kind {
        case .deliveryReports:
            // Every send is in the path before librdkafka has it, so afterwards each report's is in the list.
            inFlight.takeOver(path)
            handleReports(event)
        case .log: event.log(to: logger)
        case .error: handleError(event)
        default: break
        }
    }

    private mutating func handleReports(_ event: borrowing RdKafkaEvent) {
        let isMetered = metrics != nil
        var isFirst = true
        var hasOffsets = false
        while let report = event.nextReport() {
            guard let opaque = report.opaque else { continue }
            if isFirst {
                if isMetered { metrics?.note(microseconds: report.latency) }
                hasOffsets = report.hasOffset
                isFirst = false
            }
            guard report.isConfirmed else {
                // What the reports of an event say of each other is known when all have been read.
                handleFailures(report, event)
                continue
            }
            let promise = DeliveryPromise(opaque: opaque)
            let block = promise.block
            if connectionError != nil { connectionError = nil }
            if isMetered { metrics?.noteConfirmed() }
            let isLast = inFlight.settle(block, failure: nil)
            promise.resolve(report.metadata(hasOffset: hasOffsets))
            if isLast { block.takeRetainedValue().end() }
        }
    }

    /// Handles the reports of an event from its first one on that does not confirm its message: none does, because librdkafka puts
    /// into one event what ended together (`rd_kafka_dr_msgq`).
    @inline(never)
    private mutating func handleFailures(_ first: RdKafkaReport, _ event: borrowing RdKafkaEvent) {
        var reports = [first]
        while let report = event.nextReport() { reports.append(report) }
        let batch = RefusedBatch(reports)
        for report in reports {
            guard let opaque = report.opaque else { continue }
            let promise = DeliveryPromise(opaque: opaque)
            let block = promise.block
            let error = explain(batch.error(report))
            metrics?.note(error)
            let isLast = inFlight.settle(block, failure: error)
            promise.resolve(error)
            if isLast { block.takeRetainedValue().end() }
        }
    }

    /// Gives up what is left, when nothing is reported any more.
    ///
    /// - Returns: What was in flight.
    mutating func abandon() -> [SendBlock] {
        let count = inFlight.count
        let abandoned = inFlight.abandon()
        if count > 0 {
            logger.warning(
                "Producer closed without an answer to some sends",
                metadata: ["kafka_messages": "\(count)"]
            )
        }
        return abandoned
    }

    /// Gives what was abandoned its outcome.
    mutating func fail(_ abandoned: [SendBlock]) {
        let error = KafkaError(
            .closed,
            persistence: .possiblyPersisted,
            recovery: .recreateClient,
            reason: "the producer was closed before the broker answered"
        )
        for block in abandoned {
            metrics?.note(error, count: block.messageCount)
            block.failRest(error)
            block.end()
        }
    }

    /// Whether the client cannot go on.
    var hasFailed: Bool { nextPurge != nil }

    /// When ``purgeAfterFatalError(at:)`` is due; nil where there is nothing to give up.
    var purgeDeadline: Moment? { inFlight.count > 0 ? nextPurge : nil }

    /// Gives up what is left after a fatal error, so that each send has its outcome.
    ///
    /// librdkafka sends nothing then, and keeps what is queued until its messages' time-out (`rd_kafka_toppar_producer_serve`). Once
    /// is not enough: what a broker's thread was about to retry goes back to the queue behind the purge, and so does what a sender
    /// produced meanwhile; librdkafka tells of neither, so the thread looks again by the clock while something is left.
    mutating func purgeAfterFatalError(at now: Moment) {
        guard let due = purgeDeadline, due <= now else { return }
        client._withUnsafeGuaranteedRef { $0.purge() }
        nextPurge = now.advanced(by: .milliseconds(50))
    }

    /// When metrics are due to be brought up to date; nil where there are none.
    var nextExport: Moment? { metrics?.next }

    /// Brings metrics up to date.
    ///
    /// - Parameter isDecided: Whether librdkafka has all that is in flight.
    mutating func exportMetrics(isDecided: Bool, at now: Moment) {
        metrics?.export(inFlight: inFlight.count, isDecided: isDecided, at: now)
    }
}

// MARK: Errors

extension ReportReader {
    /// A time-out, and what closing cut short, say more with the reason why nothing got through, and a fatal error with what
    /// is behind it.
    private func explain(_ error: KafkaError) -> KafkaError {
        if error.kind == .timedOut, let cause = connectionError {
            // What was on its way reached a broker, which then did not answer.
            let kind: KafkaError.Kind = error.persistence == .notPersisted ? cause.kind : .timedOut
            return KafkaError(
                kind,
                persistence: error.persistence,
                recovery: kind == .authentication ? .fixRequest : .retry,
                reason: "no confirmation within \(messageTimeout), and \(cause.reason)",
                code: error.code
            )
        }
        if error.kind == .closed, fatalError == nil, let cause = connectionError {
            return KafkaError(
                .closed,
                persistence: error.persistence,
                recovery: .recreateClient,
                reason: "the producer was closed before there was a confirmation, and \(cause.reason)",
                code: error.code
            )
        }
        if error.kind == .fatal || error.kind == .closed, let fatal = fatalError {
            return KafkaError(
                fatal.kind,
                persistence: error.persistence,
                recovery: .recreateClient,
                reason: fatal.reason,
                code: fatal.code
            )
        }
        return error
    }

    /// The error that the client cannot recover from, where there was one.
    private var fatalError: KafkaError? { client._withUnsafeGuaranteedRef { $0.fatalError } }

    private mutating func handleError(_ event: borrowing RdKafkaEvent) {
        guard let bare = event.error else { return }
        let error = client._withUnsafeGuaranteedRef { $0.explain(bare) }
        if event.isFatal {
            logger.error("Producer failed for good", metadata: ["kafka_error": "\(fatalError ?? error)"])
            nextPurge = .now
        } else {
            note(error)
            // As the consumer's: a broker that is away comes back by itself, the rest has to be put right by the application.
            logger.log(
                level: error.recovery == .retry ? .info : .warning,
                "Producer trouble, it goes on",
                metadata: ["kafka_error": "\(error)"]
            )
        }
    }

    /// Keeps what says why nothing gets through. That all brokers are down (`_ALL_BROKERS_DOWN`) follows from what was
    /// said of each, with its address, and does not replace that.
    private mutating func note(_ error: KafkaError) {
        switch error.kind {
        case .authentication: connectionError = error
        case .brokersUnreachable where connectionError == nil || !error.isOfAllBrokers: connectionError = error
        default: break
        }
    }
}
