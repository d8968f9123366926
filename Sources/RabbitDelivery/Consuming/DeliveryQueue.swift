internal import DequeModule

/// What was received and is not handed out, who waits for it, and what the broker is to be told: what a consumer's tasks share with
/// its thread. A value.
struct DeliveryQueue {
    typealias Waiter = CheckedContinuation<Result<ReceivedMessage?, RabbitError>, Never>

    /// A message that failed, until its time has come.
    private struct Delayed {
        let due: Moment
        let message: ReceivedMessage
        let holdsOthers: Bool
    }

    private var channel: ChannelGeneration?
    private(set) var tracker = AckTracker()
    private var ready: Deque<ReceivedMessage> = []
    /// Those whose time has come again: before all others.
    private var again: Deque<ReceivedMessage> = []
    /// By time.
    private var delayed: [Delayed] = []
    /// How many hold back what follows them.
    private var holds = 0
    private var waiters: Deque<(id: UInt64, continuation: Waiter)> = []
    /// When the broker is to be told at the latest.
    private(set) var answersDue: Moment?
    private(set) var isClosing = false
    /// Whether the channel is about to be closed: the broker is told nothing more.
    private var isAnswering = true
    private var failure: RabbitError?
    /// Handed out, without a verdict, and held by the application.
    private(set) var inHand = 0
    private(set) var totals = DeliveryTotals()
    /// Whether deliveries say where in a stream they are. Only the configuration tells: a header alone may be the sender's.
    private let isStream: Bool
    /// Where a stream is; nil before its first delivery.
    private var position: StreamPosition?

    init(isStream: Bool) {
        self.isStream = isStream
    }

    /// Where a stream is to be read on; nil where it is none, or nothing of it has come.
    var resumeOffset: Int64? { position?.resume }

    var generation: Int { channel?.number ?? 0 }

    // MARK: The thread

    /// A channel is open.
    mutating func begin(_ channel: ChannelGeneration) {
        self.channel = channel
    }

    /// The channel is gone: the broker delivers again what it has no answer for.
    mutating func end() {
        totals.lost += tracker.unsettled + tracker.untold
        position?.endChannel(firstUnsettled: tracker.firstUnsettled)
        channel = nil
        tracker = AckTracker()
        ready = []
        again = []
        delayed = []
        holds = 0
        answersDue = nil
        inHand = 0
    }

    /// Takes in what arrived.
    ///
    /// - Returns: Who gets what.
    mutating func add(_ messages: [(ServerMethod.Deliver, ReceivedContent)]) throws(RabbitError) -> [(
        Waiter, ReceivedMessage
    )] {
        guard let channel else { return [] }
        for (deliver, content) in messages {
            guard deliver.tag == tracker.next else {
                throw .protocolViolation("delivery \(deliver.tag) came where \(tracker.next) was to come")
            }
            let message = ReceivedMessage(channel, deliver, content)
            tracker.add()
            if isKnown(message) {
                _ = tracker.acknowledge(deliver.tag)
                if answersDue == nil { answersDue = .now }
            } else {
                ready.append(message)
            }
        }
        return handOut()
    }

    /// Notes where a stream is; what a queue delivers is not looked into.
    ///
    /// - Returns: Whether the message had its verdict on an earlier channel.
    private mutating func isKnown(_ message: ReceivedMessage) -> Bool {
        guard isStream else { return false }
        let offset = message.properties.headers["x-stream-offset"]?.integer
        if position == nil, let offset { position = StreamPosition(offset: offset) }
        position?.add(offset)
        return position?.isKnown(offset) ?? false
    }

    /// Lets those be handed out whose time has come.
    mutating func wake(at now: Moment) -> [(Waiter, ReceivedMessage)] {
        var count = 0
        while count < delayed.count, delayed[count].due <= now {
            again.append(delayed[count].message)
            if delayed[count].holdsOthers { holds -= 1 }
            count += 1
        }
        guard count > 0 else { return [] }
        delayed.removeFirst(count)
        return handOut()
    }

    var nextWake: Moment? { delayed.first?.due }

    /// What to tell the broker, where it is time.
    mutating func takeAnswers(at now: Moment, threshold: Int) -> [ClientMethod] {
        guard tracker.untold > 0 else { return [] }
        guard tracker.untold >= threshold || isClosing || (answersDue.map { $0 <= now } ?? true) else { return [] }
        answersDue = nil
        let answers = tracker.takeAnswers()
        position?.settled(before: tracker.first)
        return answers
    }

    /// The last that the broker is told before its channel is closed. Verdicts from now on change nothing.
    mutating func takeLastAnswers() -> [ClientMethod] {
        isAnswering = false
        answersDue = nil
        return tracker.takeAnswers()
    }

    // MARK: Handing out

    private mutating func handOut() -> [(Waiter, ReceivedMessage)] {
        var handed: [(Waiter, ReceivedMessage)] = []
        while !waiters.isEmpty, let message = pop() {
            handed.append((waiters.removeFirst().continuation, message))
        }
        return handed
    }

    private mutating func pop() -> ReceivedMessage? {
        guard !isClosing, let message = again.popFirst() ?? (holds == 0 ? ready.popFirst() : nil) else { return nil }
        message.handOut()
        inHand += 1
        totals.delivered += 1
        if message.attempt > 1 { totals.redelivered += 1 }
        return message
    }

    /// The next one, or why there is none; nil where there will be.
    mutating func next() -> Result<ReceivedMessage?, RabbitError>? {
        if let message = pop() { return .success(message) }
        if let failure { return .failure(failure) }
        return isClosing ? .success(nil) : nil
    }

    mutating func wait(_ id: UInt64, _ continuation: Waiter) -> Result<ReceivedMessage?, RabbitError>? {
        if let result = next() { return result }
        waiters.append((id, continuation))
        return nil
    }

    mutating func removeWaiter(_ id: UInt64) -> Waiter? {
        waiters.firstIndex { $0.id == id }.map { waiters.remove(at: $0).continuation }
    }

    // MARK: Verdicts

    func isCurrent(_ generation: Int, _ tag: UInt64) -> Bool {
        channel?.number == generation && tracker.isUnsettled(tag)
    }

    /// - Returns: Whether it counts.
    mutating func acknowledge(_ message: ReceivedMessage, at now: @autoclosure () -> Moment, interval: Duration) -> Bool
    {
        guard isCurrentChannel(message), tracker.acknowledge(message.deliver.tag) else {
            totals.late += 1
            return false
        }
        inHand -= 1
        totals.acknowledged += 1
        if answersDue == nil { answersDue = now().advanced(by: interval) }
        return true
    }

    /// - Returns: Whether it counts.
    mutating func reject(_ message: ReceivedMessage, requeue: Bool) -> Bool {
        guard isCurrentChannel(message), tracker.reject(message.deliver.tag, requeue: requeue) else {
            totals.late += 1
            return false
        }
        inHand -= 1
        totals.rejected += 1
        answersDue = .now
        return true
    }

    /// Hands a message over again at a time.
    ///
    /// - Returns: Whether it counts.
    mutating func backOff(
        _ message: ReceivedMessage,
        until due: Moment,
        holdsOthers: Bool,
        countsAttempt: Bool
    ) -> Bool {
        guard isCurrentChannel(message), tracker.isUnsettled(message.deliver.tag) else {
            totals.late += 1
            return false
        }
        inHand -= 1
        if countsAttempt { totals.rejected += 1 }
        if holdsOthers { holds += 1 }
        let entry = Delayed(due: due, message: message.again(countingAttempt: countsAttempt), holdsOthers: holdsOthers)
        // Most come in order: all have the same delay.
        var index = delayed.count
        while index > 0, delayed[index - 1].due > due { index -= 1 }
        delayed.insert(entry, at: index)
        return true
    }

    /// The application does not hold a delivery any longer that has no verdict. The broker delivers it again when the channel ends.
    mutating func release(_ message: ReceivedMessage) {
        if channel === message.channel, tracker.isUnsettled(message.deliver.tag) { inHand -= 1 }
    }

    private func isCurrentChannel(_ message: ReceivedMessage) -> Bool { channel === message.channel && isAnswering }

    // MARK: The end

    /// Hands out nothing more.
    mutating func close() -> [Waiter] {
        isClosing = true
        defer { waiters = [] }
        return waiters.map(\.continuation)
    }

    mutating func fail(_ error: RabbitError) -> [Waiter] {
        failure = failure ?? error
        defer { waiters = [] }
        return waiters.map(\.continuation)
    }
}
