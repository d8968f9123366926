internal import CPostgreSQL
internal import DeliveryCore
internal import Synchronization

// A PGcancel is a copy of the address and a key: no call of the connection's touches it, and one thread at a time uses it.
/// The owner of a `PGcancel`: asks the server, on a connection of its own, to end what a session does.
struct LibpqCanceller: ~Copyable, @unchecked Sendable {
    private let raw: OpaquePointer

    init(_ raw: OpaquePointer) {
        self.raw = raw
    }

    deinit { PQfreeCancel(raw) }

    /// Blocks. The server has sent the signal to the session's process when this returns.
    ///
    /// - Returns: Whether the server took the request.
    borrowing func cancel() -> Bool {
        var reason = [CChar](repeating: 0, count: 256)
        return PQcancel(raw, &reason, Int32(reason.count)) == 1
    }
}

/// A request to end a statement, on its way on a thread of its own.
final class LibpqCancellation: Sendable {
    enum Step: UInt8, AtomicRepresentable {
        case underWay
        /// Whatever the session does from now on is not hit by it.
        case taken
        /// Nothing says whether the server has it, or will.
        case failed
    }

    /// The statement.
    let job: LibpqJob
    /// Until when the server may take it.
    let deadline: ContinuousClock.Instant
    /// When it is to be sent again, where the server has taken it and the statement goes on: a session that has not read the statement
    /// yet when the signal comes does nothing, and PostgreSQL forgets the request.
    let nextAttempt: ContinuousClock.Instant
    private let attempt: Int
    // Written by the request's thread, read by the connection's.
    private let atomicStep = Atomic(Step.underWay)

    var step: Step { atomicStep.load(ordering: .acquiring) }

    private init(_ job: LibpqJob, deadline: ContinuousClock.Instant, attempt: Int) {
        self.job = job
        self.deadline = deadline
        self.attempt = attempt
        // 10, 20, 40 … 640 milliseconds.
        nextAttempt = .now.advanced(by: .milliseconds(10 << min(attempt, 6)))
    }

    /// When the connection's thread has to look at it, whatever happens.
    var wakeUp: ContinuousClock.Instant { step == .taken ? nextAttempt : deadline }

    /// Sends it.
    ///
    /// - Parameters:
    ///   - earlier: The request before it for the same statement.
    ///   - whenDone: Called on the request's thread.
    /// - Returns: Nil where the system has no thread for it.
    static func start(
        _ canceller: consuming LibpqCanceller,
        for job: LibpqJob,
        until deadline: ContinuousClock.Instant,
        after earlier: LibpqCancellation? = nil,
        whenDone: @escaping @Sendable () -> Void
    ) -> LibpqCancellation? {
        let attempt = earlier.map { $0.attempt + 1 } ?? 0
        let cancellation = LibpqCancellation(job, deadline: deadline, attempt: attempt)
        let owned = Mutex<LibpqCanceller?>(canceller)
        let isStarted = BlockingThread.start("outbox-cancel") {
            let isTaken = owned.withLock { $0.take()?.cancel() ?? false }
            cancellation.atomicStep.store(isTaken ? .taken : .failed, ordering: .releasing)
            whenDone()
        }
        return isStarted ? cancellation : nil
    }
}
