internal import OutboxDelivery

/// Who has which slots, as `pg_locks` says.
struct PostgresLocks {
    /// This session's locks, and everybody's.
    private(set) var mine: Set<Int> = []
    private(set) var taken: Set<Int> = []
    /// Publishers that do not close.
    private var members = 0
    /// Whether the locks are those of the table that has the outbox's name now.
    private(set) var isOfTable = true

    /// The locks of an outbox, whose number is the first value.
    static let held = """
        FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid = $1::oid AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """

    static func statement(relation: Int64, _ table: OutboxTable) -> OutboxStatement {
        OutboxStatement(
            "SELECT objid::bigint, pid = pg_backend_pid(), coalesce(to_regclass($2)::oid = $1::oid, false) \(held)",
            [.integer(relation), .text(table.name())]
        )
    }

    init(_ rows: LibpqRows) {
        for row in 0..<rows.count {
            guard let object = rows.integer(row, 0).flatMap({ Int(exactly: $0) }) else { continue }
            if object == PostgresSlots.memberLock { members += 1 }
            if rows.boolean(row, 1) == true { mine.insert(object) }
            taken.insert(object)
            if rows.boolean(row, 2) == false { isOfTable = false }
        }
    }

    /// Whether this session counts among the publishers.
    var isMember: Bool { mine.contains(PostgresSlots.memberLock) }

    /// How many publishers share the slots, this one included.
    var publishers: Int { isMember ? members : members + 1 }

    /// How many slots each of those that do not close has at most.
    var fairShare: Int { (OutboxEvent.slotCount + members - 1) / max(members, 1) }

    static let replaced = OutboxError(
        kind: .fenced,
        persistence: nil,
        recovery: .retry,
        reason: "another table has the outbox's name now: what this session knows is not about it"
    )

    static let fenced = OutboxError(
        kind: .fenced,
        persistence: nil,
        recovery: .fixRequest,
        reason: "connect publishers past the pooler: this session's locks are another session's"
    )
}
