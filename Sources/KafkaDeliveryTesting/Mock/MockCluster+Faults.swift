extension MockCluster {
    /// The kinds of request that errors can be injected into.
    public typealias RequestKind = KafkaRequestKind

    /// How many errors one call can inject.
    public static let maximumErrors = 100_000

    /// The longest delay of a response.
    public static let maximumDelay = Duration.seconds(3_600)

    // MARK: Errors

    /// Makes the next requests of a kind fail: the first one, whichever broker it comes to, with the first error, the
    /// one after it with the second, and so on. They follow the errors that are still waiting from earlier calls.
    ///
    /// A request that is answered with an error has no effect; in particular, an injected error never leaves a
    /// message stored, even where its meaning is that it may be. For that, delay the answer of a request that
    /// succeeds (``InjectedError/none``) and take the broker down meanwhile.
    ///
    /// While a member may be joining or syncing, answer no commit with ``InjectedError/notCoordinator`` or
    /// ``InjectedError/coordinatorNotAvailable``, and no question for the coordinator with the latter: the member leaves the
    /// connection on which it waits, of which the mock then hears nothing, and its next join ends the process (`SIGABRT`).
    ///
    /// - Parameters:
    ///   - errors: the errors, at most ``maximumErrors``. ``InjectedError/none`` lets a request through.
    ///   - kind: the kind of request.
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument``, also where errors for this kind were
    ///   given to one broker before, because librdkafka then no longer looks at the cluster's list for that broker;
    ///   or ``Failure/Reason/shutDown``.
    public func inject(_ errors: [InjectedError], into kind: RequestKind) throws(Failure) {
        try checkCount(errors)
        try mock.pushErrors(codes: errors.map(\.code), kind: kind)
    }

    /// Makes the next requests of a kind to one broker fail, each after a delay.
    ///
    /// The broker from now on has a list of its own for this kind, which cannot be cleared: use either this or
    /// ``inject(_:into:)`` for a kind of request.
    ///
    /// - Parameters:
    ///   - errors: the errors, at most ``maximumErrors``. ``InjectedError/none`` lets a request through, which with a
    ///     delay makes it slow.
    ///   - kind: the kind of request.
    ///   - broker: the broker.
    ///   - delay: how long each of these answers is held back, from zero to ``maximumDelay``, rounded up to
    ///     milliseconds. It adds to the broker's round-trip time. Answers stay in order: one that is held back holds
    ///     up those behind it on the same connection.
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument`` or ``Failure/Reason/shutDown``.
    public func inject(
        _ errors: [InjectedError],
        into kind: RequestKind,
        broker: Int,
        delay: Duration = .zero
    ) throws(Failure) {
        try checkCount(errors)
        try checkBroker(broker)
        let milliseconds = try milliseconds(delay)
        try mock.pushErrors(codes: errors.map(\.code), kind: kind, broker: broker, milliseconds: milliseconds)
    }

    /// Drops the errors that still wait for requests of a kind to any broker. Errors that were given to one broker
    /// stay.
    ///
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/shutDown``.
    public func clearErrors(for kind: RequestKind) throws(Failure) {
        try mock.clearErrors(kind: kind)
    }

    /// How many of the errors that were given to one broker still wait for requests of a kind. librdkafka does not
    /// tell this about the errors for any broker.
    ///
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument`` or ``Failure/Reason/shutDown``.
    public func pendingErrors(for kind: RequestKind, broker: Int) throws(Failure) -> Int {
        try checkBroker(broker)
        return try mock.pendingErrors(kind: kind, broker: broker)
    }

    // MARK: Brokers

    /// Sets how long an answer takes at least, for all brokers or one. It also holds for answers that are waiting.
    ///
    /// - Parameters:
    ///   - time: from zero, which is the default, to ``maximumDelay``, rounded up to milliseconds.
    ///   - broker: the broker, or `nil` for all.
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument`` or ``Failure/Reason/shutDown``.
    public func setRoundTripTime(_ time: Duration, broker: Int? = nil) throws(Failure) {
        let milliseconds = try milliseconds(time)
        if let broker {
            try checkBroker(broker)
        }
        try mock.setRoundTripTime(milliseconds: milliseconds, broker: broker)
    }

    /// Takes a broker, or all of them, down: connections are closed, answers on their way are lost, new connections
    /// are refused. Partitions keep their leaders and their messages. Nothing changes where it is down already.
    ///
    /// Do not start a program at the same moment: until it runs it holds this process's ports, and librdkafka, which binds
    /// the broker's anew, ends the process (`SIGABRT`) when it cannot.
    ///
    /// - Parameter broker: the broker, or `nil` for all.
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument`` or ``Failure/Reason/shutDown``.
    public func takeDown(broker: Int? = nil) throws(Failure) {
        if let broker {
            try checkBroker(broker)
        }
        try mock.setUp(false, broker: broker)
    }

    /// Brings a broker, or all of them, up again, at the same address and with the same messages.
    ///
    /// - Parameter broker: the broker, or `nil` for all.
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument`` or ``Failure/Reason/shutDown``.
    public func bringUp(broker: Int? = nil) throws(Failure) {
        if let broker {
            try checkBroker(broker)
        }
        try mock.setUp(true, broker: broker)
    }

    // MARK: Coordinators

    /// Makes a broker the coordinator of a group. Members and committed offsets move with it. Until this is called,
    /// the coordinator is chosen by a hash of the group's name.
    ///
    /// The broker that was the coordinator refuses joins, heartbeats and departures from now on. In librdkafka 2.0.2
    /// it still takes commits.
    ///
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument`` or ``Failure/Reason/shutDown``.
    public func moveCoordinator(group: String, to broker: Int) throws(Failure) {
        try moveCoordinator(of: .group, name: group, to: broker)
    }

    /// Makes a broker the coordinator of a transactional id.
    ///
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument`` or ``Failure/Reason/shutDown``.
    public func moveCoordinator(transactionalID: String, to broker: Int) throws(Failure) {
        try moveCoordinator(of: .transaction, name: transactionalID, to: broker)
    }

    private func moveCoordinator(
        of kind: MockBrokers.CoordinatorKind,
        name: String,
        to broker: Int
    ) throws(Failure) {
        guard (1...Int(Int16.max)).contains(name.utf8.count), !name.utf8.contains(0) else {
            throw .invalid("Name the \(kind.rawValue) with 1 to 32767 bytes, none of them zero.")
        }
        // librdkafka 2.0.2 ends the process when a client asks for a coordinator that does not exist.
        try checkBroker(broker)
        try mock.setCoordinator(kind, name: name, broker: broker)
    }

    // MARK: Checks

    private func checkCount(_ errors: [InjectedError]) throws(Failure) {
        guard errors.count <= Self.maximumErrors else {
            throw .invalid("Inject at most \(Self.maximumErrors) errors at once, not \(errors.count).")
        }
    }

    private func milliseconds(_ duration: Duration) throws(Failure) -> Int32 {
        guard duration >= .zero, duration <= Self.maximumDelay else {
            throw .invalid("Ask for a time from 0 s to \(Self.maximumDelay), not \(duration).")
        }
        let (seconds, attoseconds) = duration.components
        let attosecondsPerMillisecond: Int64 = 1_000_000_000_000_000
        let fraction = (attoseconds + attosecondsPerMillisecond - 1) / attosecondsPerMillisecond
        return Int32(seconds * 1_000 + fraction)
    }
}
