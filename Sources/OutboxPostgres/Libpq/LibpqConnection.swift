internal import DeliveryCore
public import OutboxDelivery
internal import Synchronization

/// A connection to PostgreSQL: libpq in pipeline mode on a thread of its own, so that nothing blocks, and many statements are under
/// way at a time. It lives once: when it is gone every statement says so, and another one has to be opened.
///
/// ```swift
/// let connection = try await LibpqConnection.open(LibpqSettings("postgres://localhost/shop"))
/// try await connection.withTransaction { transaction in
///     try await transaction.query(OutboxStatement("UPDATE orders SET state = $1 WHERE id = $2", [.text("paid"), .integer(42)]))
///     try await transaction.query(try table.insert(message))
/// }
/// ```
public final class LibpqConnection: Sendable {
    let core: LibpqCore
    private let gate = TransactionGate()

    private init(_ core: LibpqCore) {
        self.core = core
    }

    deinit { core.ring(closing: true) }

    /// Connects. Ends at ``LibpqSettings/connectTimeout`` or when the task is cancelled, also where a name server does not answer: its own
    /// time-out then ends a thread that is left behind.
    ///
    /// - Throws: ``OutboxError``: `unavailable` where that failed or took too long, `invalidConfiguration` where the connection
    ///   string cannot be read, `cancelled`.
    public static func open(_ settings: LibpqSettings) async throws(OutboxError) -> LibpqConnection {
        try await open(settings) {}
    }

    /// - Parameter first: Called on the connection's thread before it connects.
    static func open(
        _ settings: LibpqSettings,
        first: @escaping @Sendable () -> Void
    ) async throws(OutboxError) -> LibpqConnection {
        let connection = LibpqConnection(try LibpqCore.start(settings, first: first))
        let result = await connection.core.opened()
        if Task.isCancelled {
            throw OutboxError(kind: .cancelled, persistence: nil, recovery: .retry, reason: "the task was cancelled")
        }
        try result.get()
        return connection
    }

    /// Runs one statement, in a transaction of its own, and waits until that is committed.
    ///
    /// Statements of several tasks are under way at a time; they run in the order in which they were called.
    ///
    /// - Parameters:
    ///   - statement: One statement; `COPY` does not work.
    ///   - timeout: How long it may go unanswered, from when no transaction of another task on this connection is open;
    ///     ``LibpqSettings/answerTimeout`` where nil. The connection is given up then, and the server asked to end the statement.
    /// - Returns: The rows.
    /// - Throws: ``OutboxError``, whose `persistence` says whether the statement may have been carried out. A task that is
    ///   cancelled gets `cancelled` at once. What was sent is `possiblyPersisted`, and the server is asked to end it (`PQcancel`), again
    ///   and again until it has, unless other statements are under way behind it, which that could hit. No other statement is sent
    ///   before it has ended and the server has taken the request; where it does not take it within ``LibpqSettings/cancelTimeout``
    ///   the connection is given up.
    @discardableResult
    public func query(_ statement: OutboxStatement, within timeout: Duration? = nil) async throws(OutboxError)
        -> LibpqRows
    {
        while true {
            // Its time begins when it is queued, and not while it waits for a transaction's end.
            let job = try job(statement, within: timeout)
            if gate.pass({ core.add(job) }) { return try await outcome(of: job, isCancellable: true) }
            if Task.isCancelled {
                throw OutboxError(
                    kind: .cancelled,
                    persistence: .notPersisted,
                    recovery: .retry,
                    reason: "the task was cancelled"
                )
            }
            await gate.waitUntilOpened()
        }
    }

    private func outcome(of job: LibpqJob, isCancellable: Bool) async throws(OutboxError) -> LibpqRows {
        let outcome = await job.outcome(isCancellable: isCancellable)
        // The connection's thread looks after what was cancelled.
        if case .failure(let error) = outcome, error.kind == .cancelled { core.ring() }
        return try outcome.get()
    }

    /// Runs statements in one transaction: committed when `body` returns, rolled back when it throws.
    ///
    /// Statements of other tasks on this connection wait meanwhile. Where the server does not say that the transaction has ended, for
    /// instance because there was no time to tell it to, the connection is given up, and the transaction ends with it.
    ///
    /// - Parameter body: Gets the transaction. May not be used after it has returned.
    /// - Returns: What `body` returns, once the commit is confirmed.
    /// - Throws: What `body` throws; ``OutboxError`` where beginning or committing failed: with `possiblyPersisted` no answer said
    ///   whether the transaction is committed.
    public func withTransaction<Value>(
        isolation: Isolation = .readCommitted,
        _ body: (Transaction) async throws -> sending Value
    ) async throws -> sending Value {
        try await gate.close()
        do {
            let begin = OutboxStatement("BEGIN ISOLATION LEVEL \(isolation.rawValue)")
            try await run(begin, within: nil, isCancellable: false)
            let transaction = Transaction(self)
            let value: Value
            do {
                value = try await body(transaction)
                try Task.checkCancellation()
            } catch {
                transaction.end()
                await rollBack()
                throw error
            }
            transaction.end()
            let rows = try await commit()
            guard rows.commandTag == "COMMIT" else {
                throw OutboxError(
                    kind: .database,
                    persistence: .notPersisted,
                    // The same again would come to the same: what failed was told to the code that went on.
                    recovery: .fixRequest,
                    reason: "the transaction was rolled back, for one of its statements had failed",
                    code: "25P02"
                )
            }
            gate.open()
            return value
        } catch {
            gate.open()
            throw error
        }
    }

    /// Ends the transaction. Where no answer says that it has ended the connection ends, before another task's statement is let in: that
    /// would become a part of the transaction, and be lost with it.
    private func rollBack() async {
        do throws(OutboxError) {
            try await run(OutboxStatement("ROLLBACK"), isCancellable: false)
        } catch {
            await close()
        }
    }

    private func commit() async throws(OutboxError) -> LibpqRows {
        do throws(OutboxError) {
            return try await run(OutboxStatement("COMMIT"), isCancellable: false)
        } catch {
            // What the server refuses ends the transaction, unless it did not get as far as to the commit: outside of one the rollback
            // does nothing.
            if error.code != nil { await rollBack() } else { await close() }
            throw error
        }
    }

    /// How far a transaction sees what others do meanwhile.
    public enum Isolation: String, Sendable {
        /// Each statement sees what was committed before it.
        case readCommitted = "READ COMMITTED"
        /// All statements see what was committed before the first.
        case repeatableRead = "REPEATABLE READ"
        /// As if transactions ran one after another; they may have to be run again (`40001`, recovery `retry`).
        case serializable = "SERIALIZABLE"
    }

    /// A transaction that is open on a connection.
    public final class Transaction: Sendable {
        private let connection: LibpqConnection
        private let hasEnded = Atomic(false)

        init(_ connection: LibpqConnection) {
            self.connection = connection
        }

        func end() { hasEnded.store(true, ordering: .relaxed) }

        /// Runs one statement in the transaction.
        ///
        /// - Returns: The rows.
        /// - Throws: ``OutboxError``; `closed` after the transaction's end.
        @discardableResult
        public func query(_ statement: OutboxStatement) async throws(OutboxError) -> LibpqRows {
            guard !hasEnded.load(ordering: .relaxed) else {
                throw OutboxError(
                    kind: .closed,
                    persistence: .notPersisted,
                    recovery: .fixRequest,
                    reason: "use a transaction before its closure has returned"
                )
            }
            return try await connection.run(statement, within: nil, isCancellable: true)
        }
    }

    /// Waits until the server has notified the session of something that it listens to, or the time is over, or the connection.
    /// Returns at once where that came since the last wait. One task at a time.
    ///
    /// - Returns: Whether a notification came.
    public func waitForNotification(atMost timeout: Duration) async -> Bool {
        await core.notification(until: .after(timeout))
    }

    /// Waits for the connection's end, and says why it came.
    public func closed() async -> OutboxError {
        await core.waitForEnd()
        return core.end ?? LibpqFailure.connection("it was closed", persistence: nil)
    }

    /// How many statements are at the server or on their way.
    public var statementsUnderWay: Int { core.underWayCount.load(ordering: .relaxed) }

    /// Ends the connection. Statements that are under way fail with `closed`.
    public func close() async {
        core.ring(closing: true)
        await core.waitForEnd()
    }

    /// Past the gate.
    @discardableResult
    func run(
        _ statement: OutboxStatement,
        within timeout: Duration? = nil,
        isCancellable: Bool = true
    ) async throws(OutboxError) -> LibpqRows {
        let job = try job(statement, within: timeout)
        core.add(job)
        return try await outcome(of: job, isCancellable: isCancellable)
    }

    private func job(_ statement: OutboxStatement, within timeout: Duration?) throws(OutboxError) -> LibpqJob {
        try Self.check(statement)
        let timeout = max(timeout ?? core.settings.answerTimeout, .milliseconds(1))
        return LibpqJob(statement, deadline: .after(timeout))
    }

    /// What libpq would cut off or refuse.
    private static func check(_ statement: OutboxStatement) throws(OutboxError) {
        guard !statement.text.utf8.contains(0) else { throw .invalidMessage("the statement has a NUL character") }
        guard statement.values.count <= 65_535 else { throw .invalidMessage("it has more than 65,535 values") }
        for value in statement.values {
            switch value {
            case .text(let text) where text.utf8.contains(0): throw .invalidMessage("a text has a NUL character")
            case .bytes(let bytes) where bytes.count > 1_000_000_000:
                throw .invalidMessage("a value has more than 1 GB")
            default: continue
            }
        }
    }
}
