internal import OutboxDelivery

/// The advisory locks that are the slots. No state: who has which is PostgreSQL's to know.
struct PostgresSlots {
    let connection: LibpqConnection
    /// The table's number in `pg_class`, which is the first half of the locks' names.
    let relation: Int64
    let table: OutboxTable

    /// Held by every publisher that does not close, to be counted.
    static let memberLock = 32

    /// Which are held, and by whom.
    func look() async throws(OutboxError) -> PostgresLocks {
        PostgresLocks(try await connection.query(PostgresLocks.statement(relation: relation, table)))
    }

    /// Takes those that are free.
    ///
    /// - Returns: Those that it got.
    func take(_ slots: some Sequence<Int>) async throws(OutboxError) -> Set<Int> {
        try await call("pg_try_advisory_lock", slots)
    }

    func giveBack(_ slots: some Sequence<Int>) async throws(OutboxError) {
        _ = try await call("pg_advisory_unlock", slots)
    }

    /// Counts no more among the publishers.
    func leave() async throws(OutboxError) {
        _ = try await call("pg_advisory_unlock_shared", [Self.memberLock])
    }

    /// Ends publishers that stand still while their server sends them rows, which nothing else does: a backend that waits for its client to
    /// read looks at no `statement_timeout`, and `tcp_user_timeout` is not for Unix sockets.
    ///
    /// - Parameter timeout: After how long.
    func endThoseThatStandStill(for timeout: Duration) async {
        let statement = OutboxStatement(
            """
            SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
            WHERE a.wait_event = 'ClientWrite' AND a.state_change < clock_timestamp() - $2::bigint * interval '1 second'
                AND a.pid <> pg_backend_pid() AND a.pid IN (SELECT pid \(PostgresLocks.held))
            """,
            [.integer(relation), .integer(max(1, timeout.components.seconds))]
        )
        // Where this role may not do that they are left alone; and what else fails here fails of the next statement, too.
        _ = try? await connection.query(statement)
    }

    /// - Returns: The slots for which the function returned true.
    private func call(_ function: String, _ slots: some Sequence<Int>) async throws(OutboxError) -> Set<Int> {
        let statement = OutboxStatement(
            "SELECT slot::bigint, \(function)($1::bigint::int, slot) FROM unnest($2::int[]) AS slot",
            [
                .integer(Int64(Int32(truncatingIfNeeded: relation))),
                .text(PostgresArray.integers(slots.map(Int64.init))),
            ]
        )
        let rows = try await connection.query(statement)
        return Set(
            (0..<rows.count).filter { rows.boolean($0, 1) == true }.compactMap { rows.integer($0, 0).map(Int.init) }
        )
    }
}
