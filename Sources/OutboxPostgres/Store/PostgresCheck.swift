internal import OutboxDelivery
internal import Synchronization

/// What has to be right before a publisher begins, and the settings of its session.
struct PostgresCheck {
    /// What a session works with.
    struct Prepared {
        /// The outbox's number in `pg_class`.
        var relation: Int64
        /// The quoted name of the sequence of its ids.
        var sequence: String
        /// Whether the database stores any text.
        var isUTF8: Bool
    }

    private let configuration: PostgresOutbox.Configuration
    private let connection: LibpqConnection

    init(_ configuration: PostgresOutbox.Configuration, _ connection: LibpqConnection) {
        self.configuration = configuration
        self.connection = connection
    }

    /// Checks, and makes the session a publisher's.
    func prepare() async throws(OutboxError) -> Prepared {
        let table = configuration.table
        let server = try await connection.run(
            OutboxStatement(
                "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding') = 'UTF8'"
            )
        )
        guard let number = server.integer(0, 0), number >= 140_001 else {
            throw .invalidConfiguration(
                "use PostgreSQL 14.1 or newer: an older one has no idle_session_timeout to end a publisher, or gives a transaction "
                    + "another name when it is prepared"
            )
        }
        try await checkIsDirect()
        let rights = PostgresRights(outbox: configuration, connection: connection)
        try await rights.checkMayWrite()
        let version = try await Self.version(table) { statement throws(OutboxError) in
            try await connection.run(statement)
        }
        guard version == PostgresMigrations.version else {
            let what = version == 0 ? "there are no tables of an outbox" : "the tables are of version \(version)"
            throw OutboxError(
                kind: .schemaVersion,
                persistence: nil,
                recovery: .fixRequest,
                reason: "migrate first: \(what), and this library works with version \(PostgresMigrations.version)"
            )
        }
        let sequence = try await checkSequence(table)
        try await prepareSession(version: number)
        try await rights.checkReading(sequence: sequence)
        try await rights.checkSettling()
        let relation = try await connection.run(
            OutboxStatement("SELECT $1::regclass::oid::bigint", [.text(table.name())])
        )
        guard let oid = relation.integer(0, 0) else { throw .invalidConfiguration("there is no table \(table.name())") }
        try await connection.run(
            OutboxStatement(
                "SELECT pg_advisory_lock_shared($1::bigint::int, $2::int)",
                [.integer(Int64(Int32(truncatingIfNeeded: oid))), .integer(Int64(PostgresSlots.memberLock))]
            )
        )
        try await connection.run(OutboxStatement("LISTEN \(table.quoted(table.channel))"))
        return Prepared(relation: oid, sequence: sequence, isUTF8: server.boolean(0, 1) == true)
    }

    /// The version of the tables that are there; 0 for none.
    static func version(
        _ table: OutboxTable,
        _ query: (OutboxStatement) async throws(OutboxError) -> LibpqRows
    ) async throws(OutboxError) -> Int {
        let name = table.name("_schema")
        let found = try await query(OutboxStatement("SELECT to_regclass($1) IS NOT NULL", [.text(name)]))
        guard found.boolean(0, 0) == true else { return 0 }
        let rows = try await query(OutboxStatement("SELECT coalesce(max(version), 0)::bigint FROM \(name)"))
        return Int(rows.integer(0, 0) ?? 0)
    }

    /// Before anything is set that a pooler would leave in a session of somebody else's: it names a process of its own making when it is
    /// connected to, and the server has another one.
    private func checkIsDirect() async throws(OutboxError) {
        let rows = try await connection.run(OutboxStatement("SELECT pg_backend_pid()::bigint"))
        guard rows.integer(0, 0) == Int64(connection.core.backend.load(ordering: .relaxed)) else {
            throw .invalidConfiguration(
                "connect publishers past the pooler: their locks belong to a session, and a pooler gives each transaction another one"
            )
        }
    }

    /// With a cache each session draws numbers in advance, and so in another order than it uses them.
    ///
    /// - Returns: The sequence's name, quoted: not always the one that is expected, where another relation had that.
    private func checkSequence(_ table: OutboxTable) async throws(OutboxError) -> String {
        let sequence = try await connection.run(
            OutboxStatement("SELECT pg_get_serial_sequence($1, 'id')", [.text(table.name())])
        ).text(0, 0)
        guard let sequence else {
            throw .invalidConfiguration("the column id of \(table.name()) has no sequence: migrate makes one with it")
        }
        let rows = try await connection.run(
            OutboxStatement(
                "SELECT seqcache, seqincrement, seqcycle FROM pg_sequence WHERE seqrelid = $1::regclass",
                [.text(sequence)]
            )
        )
        guard rows.integer(0, 0) == 1, rows.integer(0, 1) == 1, rows.boolean(0, 2) == false else {
            throw .invalidConfiguration(
                "run ALTER SEQUENCE \(sequence) CACHE 1 INCREMENT 1 NO CYCLE: otherwise the numbers of events are "
                    + "not in the order in which they were written"
            )
        }
        return sequence
    }

    private func prepareSession(version: Int64) async throws(OutboxError) {
        let timeout = String(max(1, configuration.sessionTimeout.components.seconds) * 1_000)
        var settings = [
            ("idle_session_timeout", timeout), ("idle_in_transaction_session_timeout", timeout),
            ("statement_timeout", timeout),
            ("tcp_user_timeout", timeout), ("lock_timeout", timeout),
            // The statistics of a table that is nearly always empty lead the planner astray when it is not.
            ("enable_seqscan", "off"), ("enable_bitmapscan", "off"), ("enable_sort", "off"), ("jit", "off"),
            // Also where statements are prepared: a deletion looks numbers up in a hash of those that it has, not of any.
            ("plan_cache_mode", "force_custom_plan"),
        ]
        // From 17 on. It would end the session in a long read, which `statement_timeout` only ends for a shorter one to follow.
        if version >= 170_000 { settings.append(("transaction_timeout", "0")) }
        let calls = settings.map { "set_config('\($0.0)', '\($0.1)', false)" }.joined(separator: ", ")
        try await connection.run(OutboxStatement("SELECT \(calls)"))
    }
}
