internal import DeliveryCore
internal import DequeModule
internal import OutboxDelivery
internal import Synchronization

/// Connections for transactions, each of which has one for itself: opened when they are needed, up to a maximum, and let go of when
/// they are gone.
final class LibpqPool: Sendable {
    private struct State {
        var idle: [LibpqConnection] = []
        /// Idle ones and those in use or being opened.
        var count = 0
        var waiting: Deque<(id: UInt64, continuation: CheckedContinuation<Turn, Never>)> = []
        var isClosed = false
    }

    private enum Turn {
        case use(LibpqConnection)
        case open
        case cancelled
        case closed
    }

    private let settings: LibpqSettings
    private let maximum: Int
    /// What is run on each new connection.
    private let preparation: @Sendable (_ backend: Int32) -> [OutboxStatement]
    // Tasks that take and give back connections meet here; nothing is resumed or closed inside.
    private let state = Mutex(State())

    /// - Parameters:
    ///   - settings: How to connect.
    ///   - maximum: How many connections there are at a time.
    ///   - preparation: What is run on each new one, by the server's process that it was told when it connected; what the server refuses
    ///     of it is done without.
    init(
        _ settings: LibpqSettings,
        maximum: Int,
        preparation: @escaping @Sendable (_ backend: Int32) -> [OutboxStatement] = { _ in [] }
    ) {
        self.settings = settings
        self.maximum = maximum
        self.preparation = preparation
    }

    /// Lends a connection.
    func withConnection<Value>(
        _ body: (LibpqConnection) async throws -> sending Value
    ) async throws -> sending Value {
        let connection = try await take()
        do {
            let value = try await body(connection)
            giveBack(connection)
            return value
        } catch {
            if let error = error as? OutboxError, Self.isLost(error) {
                await connection.close()
                leave()
            } else {
                giveBack(connection)
            }
            throw error
        }
    }

    /// Whether a connection is not used again after an error: it is gone, it is not known what it is doing, or it leads to a server that
    /// only reads (`25006`, read_only_sql_transaction), where another one of the hosts may be the one that writes.
    private static func isLost(_ error: OutboxError) -> Bool {
        switch error.kind {
        case .unavailable, .timedOut, .closed, .fenced, .cancelled: true
        default: error.persistence == .possiblyPersisted || error.code == "25006"
        }
    }

    private func take() async throws(OutboxError) -> LibpqConnection {
        let turn: Turn = await waitCancellably { id, continuation in
            let turn: Turn? = state.withLock { state in
                if state.isClosed { return .closed }
                while let connection = state.idle.popLast() {
                    if connection.core.end == nil { return .use(connection) }
                    // It ended while it was idle: the server was restarted, or has put an end to it.
                    state.count -= 1
                }
                if state.count < maximum {
                    state.count += 1
                    return .open
                }
                state.waiting.append((id, continuation))
                return nil
            }
            if let turn { continuation.resume(returning: turn) }
        } onCancel: { id in
            let continuation = state.withLock { state -> CheckedContinuation<Turn, Never>? in
                guard let index = state.waiting.firstIndex(where: { $0.id == id }) else { return nil }
                return state.waiting.remove(at: index).continuation
            }
            continuation?.resume(returning: .cancelled)
        }
        switch turn {
        case .use(let connection): return connection
        case .cancelled: throw Self.error(.cancelled, "the task was cancelled", .retry)
        case .closed: throw Self.error(.closed, "the inbox is closed", .recreateClient)
        case .open:
            do throws(OutboxError) {
                return try await open()
            } catch {
                leave()
                throw error
            }
        }
    }

    private func open() async throws(OutboxError) -> LibpqConnection {
        let connection = try await LibpqConnection.open(settings)
        for statement in preparation(connection.core.backend.load(ordering: .relaxed)) {
            do throws(OutboxError) {
                try await connection.query(statement)
            } catch  where error.kind == .database {
                continue
            } catch {
                await connection.close()
                throw error
            }
        }
        return connection
    }

    private static func error(_ kind: OutboxError.Kind, _ reason: String, _ recovery: DeliveryRecovery) -> OutboxError {
        OutboxError(kind: kind, persistence: .notPersisted, recovery: recovery, reason: reason)
    }

    private func giveBack(_ connection: LibpqConnection) {
        if connection.core.end != nil { return leave() }
        let (next, isClosed) = state.withLock { state -> (CheckedContinuation<Turn, Never>?, Bool) in
            if state.isClosed { return (nil, true) }
            if let next = state.waiting.popFirst() { return (next.continuation, false) }
            state.idle.append(connection)
            return (nil, false)
        }
        next?.resume(returning: .use(connection))
        if isClosed { Task { await connection.close() } }
    }

    /// A connection is gone: the next that waits opens another.
    private func leave() {
        let next = state.withLock { state -> CheckedContinuation<Turn, Never>? in
            if let next = state.waiting.popFirst() { return next.continuation }
            state.count -= 1
            return nil
        }
        next?.resume(returning: .open)
    }

    /// Closes what is idle, and the others when they are given back.
    func close() async {
        let (idle, waiting) = state.withLock { state in
            state.isClosed = true
            defer { (state.idle, state.waiting) = ([], []) }
            return (state.idle, state.waiting)
        }
        for waiter in waiting { waiter.continuation.resume(returning: .closed) }
        for connection in idle { await connection.close() }
    }
}
