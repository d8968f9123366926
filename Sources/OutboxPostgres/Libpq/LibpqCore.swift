internal import DeliveryCore
internal import DequeModule
internal import OutboxDelivery
internal import Synchronization

/// What tasks and the connection's thread share. The thread holds it until the connection's end.
final class LibpqCore: Sendable {
    /// What the thread does next.
    struct Orders {
        var jobs: Deque<LibpqJob> = []
        var isClosing = false
    }

    private enum Phase {
        case connecting
        case ready
        case ended(OutboxError)
    }

    private struct State {
        var phase = Phase.connecting
        var orders = Orders()
        var isRung = false
        var hasNotification = false
        var openWaiters: [CheckedContinuation<Result<Void, OutboxError>, Never>] = []
        var endWaiters: [CheckedContinuation<Void, Never>] = []
        var notificationWaiter: (id: UInt64, continuation: CheckedContinuation<Bool, Never>)?
    }

    let settings: LibpqSettings
    let pipe: WakePipe
    /// Written by the thread.
    let underWayCount = Atomic(0)
    /// The server's process, as the server named it when the connection was made; 0 before that.
    let backend = Atomic<Int32>(0)
    // Tasks leave orders and wait; the thread takes orders and resumes. Nothing is called that waits while it is held.
    private let state = Mutex(State())

    private init(_ settings: LibpqSettings, _ pipe: WakePipe) {
        self.settings = settings
        self.pipe = pipe
    }

    /// Starts the thread, which begins to connect.
    ///
    /// - Parameter first: Called on the thread before it connects; for tests, where a name server would keep it.
    static func start(
        _ settings: LibpqSettings,
        first: @escaping @Sendable () -> Void = {}
    ) throws(OutboxError) -> LibpqCore {
        var words = try settings.words()
        words["fallback_application_name"] = words["fallback_application_name"] ?? settings.applicationName
        words["client_encoding"] = "UTF8"
        guard let pipe = WakePipe() else {
            throw LibpqFailure.connection("the system has no file descriptor left", persistence: nil)
        }
        let core = LibpqCore(settings, pipe)
        let given = words
        let isStarted = BlockingThread.start("outbox-libpq") {
            first()
            LibpqThread(core).run(given)
        }
        guard isStarted else {
            throw LibpqFailure.connection("the system has no thread left", persistence: nil)
        }
        return core
    }

    // MARK: Tasks

    /// Waits until the connection is there, or failed, or its time is over, or the task is cancelled.
    ///
    /// The thread keeps the time, too, but not while libpq looks a name up, for which the system's library knows no time: then the thread
    /// is left behind, and ends the connection when it is back.
    func opened() async -> Result<Void, OutboxError> {
        // A moment for the thread, which knows the host's reason.
        let deadline = ContinuousClock.Instant.after(settings.connectTimeout.asWait + .milliseconds(250))
        var timer: Task<Void, Never>?
        defer { timer?.cancel() }
        return await waitCancellably { _, continuation in
            let answer: Result<Void, OutboxError>? = state.withLock { state in
                // Cancelled before it waited.
                if state.orders.isClosing { return .failure(LibpqFailure.cancelled) }
                switch state.phase {
                case .ready: return .success(())
                case .ended(let error): return .failure(error)
                case .connecting:
                    state.openWaiters.append(continuation)
                    return nil
                }
            }
            if let answer { return continuation.resume(returning: answer) }
            timer = Task.detached { [self] in
                // Time is what is waited for: a name server that does not answer does not say so.
                guard (try? await Task.sleep(until: deadline, clock: .continuous)) != nil else { return }
                giveUp(
                    LibpqFailure.connection(
                        "nobody answered within \(settings.connectTimeout)",
                        persistence: .notPersisted
                    )
                )
            }
        } onCancel: { _ in
            giveUp(LibpqFailure.cancelled)
        }
    }

    /// The tasks that wait for the connection do so no longer, and it is ended; unless it is there, though a task that was told so has not
    /// had its turn since.
    private func giveUp(_ error: OutboxError) {
        let waiters: [CheckedContinuation<Result<Void, OutboxError>, Never>] = state.withLock { state in
            guard case .connecting = state.phase else { return [] }
            state.orders.isClosing = true
            ring(&state)
            defer { state.openWaiters = [] }
            return state.openWaiters
        }
        for waiter in waiters { waiter.resume(returning: .failure(error)) }
    }

    /// Queues a statement.
    func add(_ job: LibpqJob) {
        let end: OutboxError? = state.withLock { state in
            if case .ended(let error) = state.phase { return error }
            state.orders.jobs.append(job)
            ring(&state)
            return nil
        }
        if let end { job.fail(end.kind, end.reason, recovery: end.recovery, code: end.code) }
    }

    /// Makes the thread look at what was cancelled, or end.
    func ring(closing: Bool = false) {
        state.withLock { state in
            if closing { state.orders.isClosing = true }
            ring(&state)
        }
    }

    func waitForEnd() async {
        await withCheckedContinuation { continuation in
            let hasEnded = state.withLock { state in
                if case .ended = state.phase { return true }
                state.endWaiters.append(continuation)
                return false
            }
            if hasEnded { continuation.resume() }
        }
    }

    /// The error that ended it, if it did.
    var end: OutboxError? {
        state.withLock { state in
            if case .ended(let error) = state.phase { error } else { nil }
        }
    }

    /// Waits for a notification: true where one came since the last wait. Ends early, with false, at the connection's end, when
    /// cancelled and at the deadline. One task at a time; an earlier one is let go.
    func notification(until deadline: ContinuousClock.Instant) async -> Bool {
        var timer: Task<Void, Never>?
        defer { timer?.cancel() }
        return await waitCancellably { id, continuation in
            let (answer, earlier): (Bool?, CheckedContinuation<Bool, Never>?) = state.withLock { state in
                if state.hasNotification {
                    state.hasNotification = false
                    return (true, nil)
                }
                if case .ended = state.phase { return (false, nil) }
                defer { state.notificationWaiter = (id, continuation) }
                return (nil, state.notificationWaiter?.continuation)
            }
            earlier?.resume(returning: false)
            if let answer { return continuation.resume(returning: answer) }
            timer = Task.detached { [self] in
                // Time is what is waited for: a notification that does not come does not say so.
                guard (try? await Task.sleep(until: deadline.asDeadline, clock: .continuous)) != nil else { return }
                endNotificationWait(id)
            }
        } onCancel: { id in
            endNotificationWait(id)
        }
    }

    private func endNotificationWait(_ id: UInt64) {
        let waiter: CheckedContinuation<Bool, Never>? = state.withLock { state in
            guard let waiter = state.notificationWaiter, waiter.id == id else { return nil }
            state.notificationWaiter = nil
            return waiter.continuation
        }
        waiter?.resume(returning: false)
    }

    private func ring(_ state: inout State) {
        guard !state.isRung else { return }
        state.isRung = true
        pipe.ring()
    }

    // MARK: The thread

    func takeOrders() -> Orders {
        state.withLock { state in
            state.isRung = false
            defer { state.orders.jobs = [] }
            return state.orders
        }
    }

    func noteReady(backend: Int32) {
        self.backend.store(backend, ordering: .relaxed)
        let waiters = state.withLock { state in
            state.phase = .ready
            defer { state.openWaiters = [] }
            return state.openWaiters
        }
        for waiter in waiters { waiter.resume(returning: .success(())) }
    }

    func noteNotification() {
        let waiter: CheckedContinuation<Bool, Never>? = state.withLock { state in
            guard let waiter = state.notificationWaiter else {
                state.hasNotification = true
                return nil
            }
            state.notificationWaiter = nil
            return waiter.continuation
        }
        waiter?.resume(returning: true)
    }

    /// The connection is gone: tasks that wait, or come, are told.
    ///
    /// - Returns: Statements that were never handed to libpq.
    func noteEnd(_ error: OutboxError) -> Deque<LibpqJob> {
        let old = state.withLock { state in
            let old = state
            state = State()
            state.phase = .ended(error)
            return old
        }
        for waiter in old.openWaiters { waiter.resume(returning: .failure(error)) }
        for waiter in old.endWaiters { waiter.resume() }
        old.notificationWaiter?.continuation.resume(returning: false)
        return old.orders.jobs
    }
}
