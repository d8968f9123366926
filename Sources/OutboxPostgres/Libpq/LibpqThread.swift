internal import DeliveryCore
internal import DequeModule
internal import OutboxDelivery
internal import Synchronization

/// The connection's own thread, the only one that calls libpq for it: connects, sends what tasks queued, reads answers.
///
/// libpq traps, and what this does about them: the socket may change with each step of connecting, so it is asked for anew;
/// `PQflush` has to be called again when the socket takes more *and* after reading; a statement's results are followed by a nil and
/// a sync, and only the sync (`ReadyForQuery`) says that its implicit transaction is committed, so that an answer before it
/// proves nothing; when the connection breaks what libpq has read is drained first, or the server's reason would be lost.
struct LibpqThread: ~Copyable {
    private typealias Instant = ContinuousClock.Instant

    private let core: LibpqCore
    private var handle: LibpqHandle?
    /// Not handed to libpq yet.
    private var waiting = LibpqWaiting()
    /// Handed to libpq, in the order of their answers.
    private var underWay: Deque<LibpqJob> = [] {
        didSet { core.underWayCount.store(underWay.count, ordering: .relaxed) }
    }
    /// How those were sent.
    private var ways: Deque<LibpqPreparedStatements.Way> = []
    private var prepared: LibpqPreparedStatements
    /// What the first of them was answered so far.
    private var answer: LibpqJob.Outcome?
    private var wantsToWrite = false
    private var isCopying = false
    /// The request to end the first of them.
    private var cancellation: LibpqCancellation?

    init(_ core: LibpqCore) {
        self.core = core
        self.prepared = LibpqPreparedStatements(maximum: core.settings.maximumPreparedStatements)
    }

    consuming func run(_ words: [String: String]) {
        let error = connect(words) ?? serve()
        leaveNothingRunning(error)
        // Destroyed before anybody is told, so that closing has closed.
        handle = nil
        waiting.append(contentsOf: core.noteEnd(error))
        while let job = waiting.popFirst() {
            job.fail(error.kind, error.reason, recovery: error.recovery, code: error.code)
        }
        // The first may have its answer, and only the commit of it was not confirmed; an error is one in any case.
        if case .failure(let refusal) = answer, refusal.code != nil, let first = underWay.popFirst() {
            first.finish(.failure(refusal))
        }
        for job in underWay { job.fail(error.kind, error.reason, recovery: error.recovery, code: error.code) }
    }

    /// Connects: to the hosts in their order, as libpq does, but none of them takes all the time.
    ///
    /// libpq goes on to the next host where one answers that it is not there, and knows no time in these calls: one that swallows packets
    /// would be waited for until the end. It is put last then, and connecting begun anew.
    ///
    /// - Returns: Why there is no connection.
    private mutating func connect(_ words: [String: String]) -> OutboxError? {
        let deadline = ContinuousClock.Instant.after(core.settings.connectTimeout)
        var hosts = LibpqHosts(words)
        while true {
            let (error, overdue) = connect(&hosts, until: deadline)
            guard let overdue, ContinuousClock.now < deadline, hosts.skip(overdue.host, port: overdue.port) else {
                return error
            }
        }
    }

    private mutating func connect(
        _ hosts: inout LibpqHosts,
        until end: Instant
    ) -> (error: OutboxError?, overdue: (host: String?, port: String?)?) {
        handle = nil
        guard let handle = LibpqHandle(hosts.words) else {
            return (LibpqFailure.connection("no memory for it", persistence: .notPersisted), nil)
        }
        self.handle = handle
        hosts.learn(handle.places)
        let deadline = ContinuousClock.now.advanced(by: hosts.share(of: ContinuousClock.now.duration(to: end)))
        var interest = handle.isBroken ? LibpqHandle.Interest.failed : .write
        while true {
            switch interest {
            case .failed:
                let error = handle.lastWords ?? LibpqFailure.connection(handle.message, persistence: .notPersisted)
                return (error, nil)
            case .ready:
                core.noteReady(backend: handle.backend)
                return (nil, nil)
            case .read, .write: break
            }
            let ready = core.pipe.wait(
                socket: handle.descriptor,
                reads: interest == .read,
                writes: interest == .write,
                until: deadline
            )
            let orders = core.takeOrders()
            waiting.append(contentsOf: orders.jobs)
            if orders.isClosing { return (Self.closed, nil) }
            // First: the answer may have come in time, and this thread got its turn later.
            let waitedFor = (handle.host, handle.port)
            if ready.canRead || ready.canWrite { interest = handle.connect() }
            if interest.isOpen, ContinuousClock.now >= deadline {
                let reason = "nobody answered within \(core.settings.connectTimeout)"
                return (LibpqFailure.connection(reason, persistence: .notPersisted), waitedFor)
            }
        }
    }

    /// Sends and reads until the end.
    ///
    /// - Returns: Why it ended.
    private mutating func serve() -> OutboxError {
        guard let handle else { return Self.closed }
        while true {
            let orders = core.takeOrders()
            waiting.append(contentsOf: orders.jobs)
            if orders.isClosing { return Self.closed }
            // First, for what is overdue is not sent.
            if let error = overdue() { return error }
            if let error = cancelWhatIsOver(handle) { return error }
            if let error = sendWaiting(handle) { return error }
            let deadlines = [underWay.first?.deadline, waiting.nextDeadline, cancellation?.wakeUp]
            let deadline = deadlines.compactMap(\.self).min()
            let ready = core.pipe.wait(
                socket: handle.descriptor,
                reads: true,
                writes: wantsToWrite,
                until: deadline
            )
            if ready.canRead {
                let isThere = handle.consume()
                readAnswers(handle)
                if isCopying { return Self.copying }
                while handle.takeNotification() { core.noteNotification() }
                if !isThere || handle.isBroken { return lastError(handle) }
            }
            guard let isBlocked = handle.flush() else { return lastError(handle) }
            wantsToWrite = isBlocked
        }
    }

    /// Hands to libpq what may be under way.
    private mutating func sendWaiting(_ handle: LibpqHandle) -> OutboxError? {
        // What is sent now could be hit by the request to end what is before it.
        guard cancellation == nil, underWay.first?.isOver != true else { return nil }
        while underWay.count < core.settings.maximumPipelined, let job = waiting.popFirst() {
            guard job.beginSending() else { continue }
            let way = prepared.way(of: job.statement)
            underWay.append(job)
            ways.append(way)
            guard handle.send(job.statement, way) else { return lastError(handle) }
        }
        guard let isBlocked = handle.flush() else { return lastError(handle) }
        wantsToWrite = isBlocked
        return nil
    }

    private mutating func readAnswers(_ handle: LibpqHandle) {
        while let first = underWay.first {
            switch handle.next() {
            case .nothing: return
            case .copying:
                isCopying = true
                return
            case .rows(let rows):
                if case .preparing(let name, let key) = ways.first {
                    // What was prepared is carried out next.
                    prepared.notePrepared(key, as: name, isThere: true)
                    ways[0] = .named(name, key)
                } else if answer == nil {
                    answer = .success(rows)
                }
            // Also after an answer: what a commit fails of comes between the answer and the sync. The first error is the reason;
            // libpq's own, of the connection that is gone then, comes after the server's.
            case .failure(let error):
                if case .failure = answer { continue }
                answer = .failure(noteFailure(error))
            case .sync:
                underWay.removeFirst()
                ways.removeFirst()
                // Given away whole: the rows are freed by the task that gets them.
                first.finish(
                    answer.take() ?? .failure(LibpqFailure.error(code: "", message: "no answer", persistence: nil))
                )
            }
        }
    }

    /// The first statement failed, perhaps only of being prepared.
    private mutating func noteFailure(_ error: OutboxError) -> OutboxError {
        switch ways.first {
        case .preparing(let name, let key):
            prepared.notePrepared(key, as: name, isThere: false)
            ways[0] = .unnamed
        case .named(_, let key) where prepared.noteFailure(error.code, of: key):
            return OutboxError(
                kind: error.kind,
                persistence: error.persistence,
                recovery: .retry,
                reason: error.reason,
                code: error.code
            )
        case .named, .unnamed, nil: break
        }
        return error
    }

    /// A statement that is not answered in time takes the connection with it, for its answer may still come.
    private mutating func overdue() -> OutboxError? {
        let now = ContinuousClock.now
        for job in waiting.takeOverdue(at: now) {
            job.fail(.timedOut, "PostgreSQL had no time for the statement", recovery: .retry)
        }
        guard let first = underWay.first, first.deadline <= now else { return nil }
        return OutboxError(
            kind: .timedOut,
            persistence: .possiblyPersisted,
            recovery: .retry,
            reason: "PostgreSQL did not answer within \(core.settings.answerTimeout)"
        )
    }

    /// Asks the server to end the statement whose task was told that it is cancelled, where that is the only one under way: the
    /// request names the session and not the statement, and hits what the session does when it arrives.
    private mutating func cancelWhatIsOver(_ handle: LibpqHandle) -> OutboxError? {
        guard let earlier = cancellation else {
            guard underWay.count == 1, let job = underWay.first, job.isOver else { return nil }
            return requestCancellation(of: job, handle)
        }
        switch earlier.step {
        case .taken where earlier.job !== underWay.first: cancellation = nil
        case .taken where earlier.nextAttempt <= ContinuousClock.now:
            return requestCancellation(of: earlier.job, handle, after: earlier)
        case .underWay where earlier.deadline <= ContinuousClock.now: return Self.notCancelled
        case .failed: return Self.notCancelled
        case .taken, .underWay: break
        }
        return nil
    }

    private mutating func requestCancellation(
        of job: LibpqJob,
        _ handle: LibpqHandle,
        after earlier: LibpqCancellation? = nil
    ) -> OutboxError? {
        guard let canceller = handle.canceller() else { return Self.notCancelled }
        let core = core
        let deadline = ContinuousClock.Instant.after(core.settings.cancelTimeout)
        cancellation = LibpqCancellation.start(canceller, for: job, until: deadline, after: earlier) { core.ring() }
        return cancellation == nil ? Self.notCancelled : nil
    }

    /// The connection ends: what the server still does for a task that does not wait for it any more is to end, too. The server
    /// would notice that the connection is gone only when it has something to say.
    private func leaveNothingRunning(_ error: OutboxError) {
        guard cancellation == nil, let job = underWay.first, job.isOver || error.kind == .timedOut,
            let canceller = handle?.canceller()
        else { return }
        _ = LibpqCancellation.start(canceller, for: job, until: .now) {}
    }

    private mutating func lastError(_ handle: LibpqHandle) -> OutboxError {
        let message = handle.message
        readAnswers(handle)
        if case .failure(let error) = answer, error.kind == .unavailable {
            answer = nil
            return error.code == nil ? handle.lastWords ?? error : error
        }
        return handle.lastWords ?? LibpqFailure.connection(message, persistence: .possiblyPersisted)
    }

    private static var notCancelled: OutboxError {
        LibpqFailure.connection(
            "the server did not take the request to end a statement",
            persistence: .possiblyPersisted
        )
    }

    private static var copying: OutboxError {
        OutboxError(
            kind: .closed,
            persistence: .possiblyPersisted,
            recovery: .fixRequest,
            reason: "COPY does not work in libpq's pipeline mode, and leaves a connection that cannot go on"
        )
    }

    private static var closed: OutboxError {
        OutboxError(kind: .closed, persistence: nil, recovery: .recreateClient, reason: "the connection was closed")
    }
}
