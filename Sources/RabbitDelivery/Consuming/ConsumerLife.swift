/// How far a consumer is between its first loop and its end. A value.
struct ConsumerLife {
    private enum Closing {
        case open
        /// The broker sends nothing more, and what is in hand may finish until then.
        case finishing(deadline: Moment, Cancellation)
        /// All answers are given; the broker has them when it has closed the channel.
        case closingChannel(deadline: Moment)
        case over
    }

    /// How far the end of the consumer (`basic.cancel`) is. The channel is closed only after its answer: of more than 32 answers that
    /// a quorum queue has not yet applied (`quorum_commands_soft_limit`), a channel keeps the rest to itself, and forgets them when it is
    /// closed. A cancellation goes through the queue's log, behind those before it.
    private enum Cancellation {
        case due
        case asked
        case answered
    }

    private let configuration: RabbitConsumer.Configuration
    private var isStarted = false
    private var hasFailedToStart = false
    private var topology: RabbitTopology
    private var consumerTag = ""
    private(set) var messageCounts: [String: Int] = [:]
    private var closing = Closing.open
    private(set) var isChannelClosed = false
    /// Messages that were read and not handed over to the queue yet.
    var arrived: [(ServerMethod.Deliver, ReceivedContent)] = []
    var fault: RabbitError?
    var metrics: ConsumerMetrics?

    init(_ configuration: RabbitConsumer.Configuration) {
        self.configuration = configuration
        topology = configuration.topology
        metrics = ConsumerMetrics(
            queue: configuration.queue,
            factory: configuration.metricsFactory,
            interval: configuration.metricsInterval
        )
    }

    /// - Returns: Whether the thread is to be started.
    mutating func start(_ more: RabbitTopology) -> Bool {
        guard !isStarted, !hasFailedToStart, case .open = closing else { return false }
        isStarted = true
        topology = topology.merging(more)
        return true
    }

    /// There is no thread after all, and will be none.
    ///
    /// - Returns: Whether closing has begun, and waits for the end.
    mutating func startFailed() -> Bool {
        isStarted = false
        hasFailedToStart = true
        if case .open = closing { return false }
        return true
    }

    /// - Parameter offset: Where a stream is read on; nil for where the configuration says.
    func channelRequests(resumingAt offset: Int64?) -> [ClientMethod] {
        var arguments = configuration.arguments
        if let offset { arguments["x-stream-offset"] = .int64(offset) }
        var requests = topology.requests
        // Says how many messages there are, and a plain word where the queue is not there.
        requests.append(.queueDeclare(.init(configuration.queue), passive: true))
        requests.append(.qos(prefetch: UInt16(clamping: configuration.prefetch)))
        requests.append(
            .consume(
                queue: configuration.queue,
                tag: configuration.consumerTag ?? "",
                isExclusive: configuration.isExclusive,
                arguments: arguments
            )
        )
        return requests
    }

    mutating func opened(_ setup: ChannelSetup) {
        consumerTag = setup.consumerTag ?? ""
        messageCounts = setup.messageCounts
        fault = nil
    }

    mutating func lost() {
        arrived = []
        fault = nil
        // What was in hand can settle nothing any more.
        if case .open = closing { return }
        closing = .over
    }

    // MARK: Closing

    /// - Returns: Whether there is a thread.
    mutating func close(by deadline: Moment) -> Bool {
        switch closing {
        case .open: closing = .finishing(deadline: deadline, .due)
        case .finishing(let earlier, let cancellation):
            closing = .finishing(deadline: min(earlier, deadline), cancellation)
        case .closingChannel(let earlier): closing = .closingChannel(deadline: min(earlier, deadline))
        case .over: break
        }
        return isStarted
    }

    mutating func advanceClosing(inHand: Int, at now: Moment, hasChannel: Bool) -> [ClientMethod] {
        switch closing {
        case .open, .over: return []
        case .finishing(let deadline, var cancellation):
            guard hasChannel else {
                // There is nothing that could be settled.
                closing = .over
                return []
            }
            var methods: [ClientMethod] = []
            if case .due = cancellation {
                methods.append(.cancel(tag: consumerTag))
                cancellation = .asked
            }
            closing = .finishing(deadline: deadline, cancellation)
            var isFinished = false
            if case .answered = cancellation { isFinished = inHand <= 0 }
            if isFinished || now >= deadline {
                methods.append(.channelClose)
                closing = .closingChannel(deadline: max(deadline, now.advanced(by: .milliseconds(500))))
            }
            return methods
        case .closingChannel(let deadline):
            if now >= deadline { closing = .over }
            return []
        }
    }

    mutating func noteCancelled() {
        guard case .finishing(let deadline, _) = closing else { return }
        closing = .finishing(deadline: deadline, .answered)
    }

    mutating func noteChannelClosed() {
        guard case .closingChannel = closing else { return }
        isChannelClosed = true
        closing = .over
    }

    var wantsEnd: Bool {
        if case .over = closing { true } else { false }
    }

    var nextDeadline: Moment? {
        switch closing {
        case .finishing(let deadline, _), .closingChannel(let deadline): deadline
        case .open, .over: metrics?.next
        }
    }

    mutating func takeReport(
        _ totals: DeliveryTotals,
        unsettled: Int,
        at now: Moment,
        isLast: Bool = false
    ) -> ConsumerMetrics.Report? {
        guard let due = metrics?.next, due <= now || isLast else { return nil }
        return metrics?.takeReport(totals, unsettled: unsettled, at: now)
    }
}
