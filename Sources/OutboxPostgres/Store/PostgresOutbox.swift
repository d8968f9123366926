internal import DeliveryCore
public import OutboxDelivery
internal import Synchronization

/// An outbox in PostgreSQL 14.1 or newer.
///
/// ```swift
/// let outbox = try PostgresOutbox(.init(LibpqSettings("postgres://shop@db/shop")))
/// try await outbox.migrate()
/// let kafka = try KafkaOutboxDestination(.init(bootstrapServers: ["localhost:9092"]))
/// let publisher = OutboxPublisher(store: outbox, destinations: ["kafka": kafka])
/// ```
///
/// A publisher's role needs `SELECT` on `outbox_schema` and on the sequence `outbox_id_seq`, `SELECT` and `DELETE` on `outbox`, `SELECT`,
/// `INSERT`, `UPDATE` and `DELETE` on `outbox_parked`, for an exactly-once destination `SELECT`, `INSERT` and `UPDATE` on
/// `outbox_inflight`, and for an archive what ``Configuration/archiveDays`` says. Without the right to delete and park, or to read the
/// sequence, or where the session only reads, ``openSession()`` fails before anything is sent.
///
/// A publisher's session is one connection. What a person does, and ``wake()``, share another, which is opened when it is
/// needed and opened again when it is gone.
public final class PostgresOutbox: OutboxStore, OutboxAdministration {
    /// The settings.
    public struct Configuration: Sendable, Hashable {
        /// How to connect.
        public var connection: LibpqSettings

        /// The tables' names.
        public var table: OutboxTable

        /// After how long a publisher that stands still loses its slots to others, 1 second to an hour. PostgreSQL ends its session
        /// then (`idle_session_timeout`, `statement_timeout`, `tcp_user_timeout`), or other publishers do, where it stands still in the middle
        /// of a read; the publisher says a word at a third of it.
        public var sessionTimeout: Duration = .seconds(10)

        /// How often to look for rows where none can be, as a safety net; more than zero.
        public var sweepInterval: Duration = .seconds(60)

        /// For how many days published rows are kept in `outbox_archive`, 1 or more; nil deletes them at once, which is cheaper. The
        /// publisher's role has to own that table, and to have the right to create tables in its schema, unless a person makes its partitions.
        public var archiveDays: Int?

        /// Settings for a connection; the tables are `outbox` and so on, where the connection looks first.
        public init(_ connection: LibpqSettings) throws(OutboxError) {
            self.connection = connection
            self.table = try OutboxTable(.postgresql)
        }

        /// How long a decision waits for its lock: publishers that park something wait behind it, and no statement of theirs may wait as long
        /// as their session time-out.
        var decisionPatience: Duration { min(.seconds(2), sessionTimeout / 2) }
    }

    private struct State {
        var connection: LibpqConnection?
        var isClosed = false
    }

    /// The settings.
    public let configuration: Configuration

    // Tasks that need the connection meet here.
    private let state = Mutex(State())
    /// What its sessions know of the archive's partitions.
    private let upkeep = PostgresArchive.Upkeep()

    /// An outbox. Connects to nothing yet.
    ///
    /// - Throws: ``OutboxError`` of kind `invalidConfiguration`.
    public init(_ configuration: Configuration) throws(OutboxError) {
        guard configuration.table.dialect == .postgresql else {
            throw .invalidConfiguration("use the dialect postgresql for tables in PostgreSQL")
        }
        guard configuration.sessionTimeout >= .seconds(1), configuration.sessionTimeout <= .seconds(3_600),
            configuration.sweepInterval > .zero, (1...36_500).contains(configuration.archiveDays ?? 1)
        else {
            throw .invalidConfiguration(
                "choose a sessionTimeout of a second to an hour, archiveDays of 1 to 36500, and a sweepInterval above zero"
            )
        }
        _ = try configuration.connection.words()
        self.configuration = configuration
    }

    /// The tables' names, and the statements that write to them.
    public var table: OutboxTable { configuration.table }

    /// True: for an ``OutboxDelivery/ExactlyOnceDestination``.
    public var notesBatches: Bool { true }

    // MARK: Connections

    /// The connection that all but publishers share; opened where there is none.
    private func connection() async throws(OutboxError) -> LibpqConnection {
        let (current, isClosed) = state.withLock { ($0.connection, $0.isClosed) }
        if isClosed {
            throw OutboxError(
                kind: .closed,
                persistence: .notPersisted,
                recovery: .recreateClient,
                reason: "it was closed"
            )
        }
        if let current, current.core.end == nil { return current }
        let new = try await LibpqConnection.open(configuration.connection)
        let (kept, surplus): (LibpqConnection, LibpqConnection?) = state.withLock { state in
            // Another task may have opened one meanwhile.
            if let current = state.connection, current.core.end == nil { return (current, new) }
            if !state.isClosed { state.connection = new }
            return (new, nil)
        }
        await surplus?.close()
        return kept
    }

    /// Closes the connection that all but publishers share. Publishers close theirs.
    public func close() async {
        let connection = state.withLock { state in
            state.isClosed = true
            return state.connection.take()
        }
        await connection?.close()
    }

    /// Tells publishers that there may be something to publish: one `NOTIFY`, to be called after the transaction is committed.
    /// Inside of the transaction a `NOTIFY` costs most of the commits at many connections, for PostgreSQL orders all that notify.
    ///
    /// Through ``OutboxWaker`` many calls become one. Publishers find rows without it too, after their poll interval.
    public func wake() async throws(OutboxError) {
        try await connection().query(configuration.table.wakeStatement)
    }

    /// Checks the schema, the sequence, the role's rights and the archive, and opens a session that owns nothing yet.
    ///
    /// - Throws: ``OutboxError``: `schemaVersion` and `invalidConfiguration` where a person has to change something, `unavailable` where the
    ///   server is not there, only reads, or could not make the archive's partition just now.
    public func openSession() async throws(OutboxError) -> PostgresSession {
        var settings = configuration.connection
        settings.answerTimeout = min(settings.answerTimeout, configuration.sessionTimeout * 2)
        let connection = try await LibpqConnection.open(settings)
        do {
            let prepared = try await PostgresCheck(configuration, connection).prepare()
            if let days = configuration.archiveDays {
                let archive = PostgresArchive(table: table, days: days)
                try await upkeep.prepare(archive, configuration.connection, for: connection)
            }
            return PostgresSession(
                configuration,
                connection,
                PostgresUpkeep(configuration, connection, relation: prepared.relation, sequence: prepared.sequence),
                prepared,
                archive: upkeep
            )
        } catch {
            await connection.close()
            throw error
        }
    }

    // MARK: What a person does

    /// Creates the tables or brings them to this library's version, all in one transaction. Several may call it at a time.
    @discardableResult
    public func migrate() async throws(OutboxError) -> [Int] {
        let table = configuration.table
        let connection = try await connection()
        do {
            return try await connection.withTransaction { transaction in
                // Services that start together migrate one after another.
                try await transaction.query(
                    OutboxStatement(
                        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
                        [.text(table.name("_schema"))]
                    )
                )
                let version = try await PostgresCheck.version(table) { statement throws(OutboxError) in
                    try await transaction.query(statement)
                }
                let missing = PostgresMigrations.all(table).filter { $0.number > version }
                for migration in missing {
                    for statement in migration.statements + [PostgresMigrations.note(migration, table)] {
                        try await transaction.query(OutboxStatement(statement))
                    }
                }
                return missing.map(\.number)
            }
        } catch let error as OutboxError {
            throw error
        } catch {
            throw LibpqFailure.cancelled
        }
    }

    /// How much waits, where, and who publishes it. Counts the rows, so it reads the whole table.
    public func status() async throws(OutboxError) -> OutboxStatus {
        let connection = try await connection()
        return try await PostgresStatus(configuration, connection).read()
    }

    /// Parked events.
    public func parked(key: [UInt8]?, limit: Int) async throws(OutboxError) -> [OutboxParkedEvent] {
        let connection = try await connection()
        return try await PostgresStatus(configuration, connection).parked(key: key, limit: limit)
    }

    /// Decides about parked events, and wakes the publishers.
    ///
    /// - Throws: ``OutboxError``, with the code `55P03` and the recovery `retry` where another transaction, for instance a person's that
    ///   is still open, has changed `outbox_parked` for two seconds, or for half of ``Configuration/sessionTimeout`` where that is less:
    ///   publishers wait behind this call, so it does not wait for longer.
    public func decide(
        _ action: OutboxParkedAction,
        _ selection: OutboxParkedSelection
    ) async throws(OutboxError) -> Int {
        var condition: String
        var values: [OutboxValue] = [.text(action.rawValue)]
        switch selection {
        case .all: condition = "true"
        case .key(let key):
            condition = "sha256(key) = sha256($2::bytea) AND key = $2::bytea"
            values.append(.bytes(key))
        case .event(let id):
            condition = "slot = $2::smallint AND id = $3::bigint"
            values += [.integer(Int64(id.slot)), .integer(id.number)]
        }
        // What is to be discarded and is not yet gone stays so when the rest of its key is resumed.
        if action == .resume { condition += " AND action IS DISTINCT FROM 'discard'" }
        let parked = table.name("_parked")
        let statement = OutboxStatement("UPDATE \(parked) SET action = $1::text WHERE \(condition)", values)
        let connection = try await connection()
        let count: Int
        do {
            count = try await connection.withTransaction { transaction in
                let patience = configuration.decisionPatience / .milliseconds(1)
                try await transaction.query(OutboxStatement("SET LOCAL lock_timeout = '\(Int(patience))ms'"))
                // A publisher that moves followers behind their parked head looks what was decided about that: before this, or after it.
                try await transaction.query(OutboxStatement("LOCK TABLE \(parked) IN SHARE ROW EXCLUSIVE MODE"))
                return try await transaction.query(statement).affected
            }
        } catch let error as OutboxError where error.code == "55P03" {
            throw OutboxError(
                kind: error.kind,
                persistence: error.persistence,
                recovery: .retry,
                reason: "\(parked) is locked: end the transaction that changed it and is still open; "
                    + "pg_locks names its process",
                code: error.code
            )
        } catch let error as OutboxError {
            throw error
        } catch {
            throw LibpqFailure.cancelled
        }
        // It is decided; without this publishers find it a poll interval later.
        try? await wake()
        return count
    }
}

extension OutboxTable {
    /// The statement that tells publishers that there may be something to publish, for a service's own client: to be run after
    /// the commit, never inside of the transaction. Only PostgreSQL has one.
    public var wakeStatement: OutboxStatement {
        OutboxStatement("SELECT pg_notify($1, '')", [.text(channel)])
    }

    /// The channel that publishers listen to.
    var channel: String { String(prefix.prefix(40)) }
}
