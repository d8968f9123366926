#if SQLite
    internal import DeliveryCore
    internal import GRDB
    public import OutboxDelivery
    internal import Synchronization

    extension SQLiteOutbox: OutboxStore {
        /// True: for an ``OutboxDelivery/ExactlyOnceDestination``.
        public var notesBatches: Bool { true }

        /// Checks the schema and the connection's settings, and opens a session.
        ///
        /// - Throws: ``OutboxError``: `schemaVersion`, `invalidConfiguration`, or the database's error.
        public func openSession() async throws(OutboxError) -> SQLiteSession {
            let session = SQLiteSession(self)
            try await database.perform { db in
                try Durability.check(db)
                try Durability.checkJournal(db)
                try schema.check(db)
                try session.observe(db)
            }
            return session
        }
    }

    /// One publisher's work with an outbox in SQLite: the holder of the lease, or one that stands by.
    public final class SQLiteSession: OutboxSession {
        private struct State {
            var dataVersion: Int?
            /// It was this session's when it was asked for last.
            var holdsLease = false
            var isClosed = false
        }

        private let outbox: SQLiteOutbox
        private let table: OutboxTable
        /// What tells this session from every other one.
        private let owner = OutboxMessage.randomIdempotencyKey()
        private let watch: CommitWatch
        // Calls of the publisher's tasks.
        private let state = Mutex(State())

        init(_ outbox: SQLiteOutbox) {
            self.outbox = outbox
            table = outbox.table
            watch = CommitWatch(
                outbox: table.prefix.lowercased(),
                parked: (table.prefix + "_parked").lowercased()
            )
        }

        /// From here on no commit is missed.
        func observe(_ db: Database) throws {
            db.add(transactionObserver: watch, extent: .observerLifetime)
            let version = try Self.dataVersion(db)
            state.withLock { $0.dataVersion = version }
        }

        private static func dataVersion(_ db: Database) throws -> Int? {
            try Int.fetchOne(db.cachedStatement(sql: "PRAGMA data_version"))
        }

        /// A third of the lease.
        public var keepAlive: Duration { outbox.configuration.lease / 3 }

        /// A transaction of a session that may still change something.
        ///
        /// Whether it is closed is looked at on the connection, too: a call that was on its way when it was closed would take the lease for a
        /// session that renews it no more.
        private func transaction<Value: Sendable>(
            _ body: @escaping @Sendable (Database) throws -> Value
        ) async throws(OutboxError) -> Value {
            try checkOpen()
            return try await outbox.database.transaction { [self] db in
                try checkOpen()
                return try body(db)
            }
        }

        private func checkOpen() throws(OutboxError) {
            guard state.withLock({ !$0.isClosed }) else {
                throw OutboxError(
                    kind: .closed,
                    persistence: .notPersisted,
                    recovery: .recreateClient,
                    reason: "the session is closed"
                )
            }
        }

        // MARK: The lease

        /// Takes the lease where it is free, was not renewed for its time, or belongs to a session of this outbox that was closed and could not
        /// give it back, and renews it where it is this session's.
        ///
        /// A lease that ends later than one of its length that began now could was written by a clock that has been set back since: it
        /// is free. Its length is its holder's, which may be another than this session's.
        public func balance(busy: Set<Int>) async throws(OutboxError) -> OutboxShare {
            try await renewLease(takes: true)
        }

        /// Renews the lease where it is this session's. It is for all slots, and given back when the session ends.
        public func leave(busy: Set<Int>) async throws(OutboxError) -> OutboxShare {
            try await renewLease(takes: false)
        }

        /// - Parameter takes: Whether it is taken where it is free.
        private func renewLease(takes: Bool) async throws(OutboxError) -> OutboxShare {
            let (lease, orphans) = (table.name("_lease"), outbox.orphans)
            let (owner, name, time) = (
                owner, outbox.configuration.publisherName, outbox.configuration.lease.milliseconds
            )
            return try await transaction { [self] db in
                try db.cachedStatement(
                    sql: """
                        UPDATE \(lease) SET owner = ?1, name = ?2, until = \(Database.now) + ?3, length = ?3,
                        since = CASE WHEN owner IS ?1 THEN since ELSE \(Database.now) END
                        WHERE owner IS ?1 OR ?4 AND (owner IS NULL OR until IS NULL OR until < \(Database.now)
                            OR until > \(Database.now) + 2 * coalesce(length, ?3)
                            OR owner IN (SELECT value FROM json_each(?5)))
                        """
                ).execute(arguments: [owner, name, time, takes, orphans.list])
                let holdsLease = db.changesCount == 1
                // On the connection, so that a session that closes knows it.
                db.afterNextTransaction { [self] _ in
                    state.withLock { $0.holdsLease = holdsLease }
                    if holdsLease { orphans.removeAll() }
                }
                return holdsLease
                    ? OutboxShare(slots: Set(0..<OutboxEvent.slotCount), publishers: 1)
                    : OutboxShare(slots: [], publishers: 2)
            }
        }

        private static func holder(_ db: Database, _ table: OutboxTable) throws -> String? {
            try String.fetchOne(db.cachedStatement(sql: "SELECT owner FROM \(table.name("_lease")) WHERE id = 1"))
        }

        /// Fails where the lease is another session's.
        private static func checkLease(_ db: Database, _ table: OutboxTable, _ owner: String) throws {
            guard try holder(db, table) == owner else {
                throw OutboxError(
                    kind: .fenced,
                    persistence: .notPersisted,
                    recovery: .retry,
                    reason: "another publisher has taken the lease over"
                )
            }
        }

        // MARK: Rows

        /// Reads the first rows of slots, parked ones that are to be sent again before the others. Rows that follow a parked one of
        /// their key are parked on the way. Rows whose headers cannot be read come with a ``OutboxDelivery/OutboxEvent/defect``.
        public func read(_ request: OutboxReadRequest) async throws(OutboxError) -> [OutboxEvent] {
            let (table, owner) = (table, owner)
            return try await transaction { db in
                try Self.checkLease(db, table, owner)
                return try SQLiteReading(db, table, request).run()
            }
        }

        /// Deletes and parks rows, in one transaction. Rows that are confirmed are deleted also while no session has the lease: by a publisher
        /// that lost its session while it closes.
        ///
        /// - Throws: ``OutboxError``: `fenced` where the lease is another session's; nothing has changed then.
        @discardableResult
        public func settle(_ settlement: OutboxSettlement) async throws(OutboxError) -> Int {
            let (table, owner, archives) = (table, owner, outbox.configuration.archiveDays != nil)
            let orphans = outbox.orphans
            return try await transaction { db in
                let holder = try Self.holder(db, table)
                if !settlement.parked.isEmpty || holder.map(orphans.contains) == false {
                    try Self.checkLease(db, table, owner)
                }
                let done = SQLiteDeletion(db, table, archives: archives)
                for (origin, suffix) in [(OutboxEvent.Origin.outbox, ""), (.parked, "_parked")] {
                    let events = settlement.accepted.filter { $0.origin == origin }
                    try done.delete(
                        settlement.isOfEarlierSession ? try done.same(events, in: suffix) : events.map(\.id.number),
                        from: suffix
                    )
                }
                var count = 0
                for parking in settlement.parked { count += try SQLiteParking(db, table).park(parking) }
                return count
            }
        }

        // MARK: Exactly once

        /// The note of a slot's last batch.
        public func lastInflight(slot: Int, destination: String) async throws(OutboxError) -> OutboxInflight? {
            let (table, owner) = (table, owner)
            return try await transaction { db in
                try Self.checkLease(db, table, owner)
                return try SQLiteInflight(db, table).last(slot: slot, destination: destination)
            }
        }

        /// Notes a batch.
        ///
        /// - Throws: ``OutboxError``: `fenced` where the lease is another session's, or the last batch is a later one.
        public func note(_ inflight: OutboxInflight) async throws(OutboxError) {
            let (table, owner) = (table, owner)
            try await transaction { db in
                try Self.checkLease(db, table, owner)
                try SQLiteInflight(db, table).note(inflight)
            }
        }

        /// Deletes a batch's rows, wherever they are.
        public func conclude(_ inflight: OutboxInflight) async throws(OutboxError) {
            let (table, owner, archives) = (table, owner, outbox.configuration.archiveDays != nil)
            try await transaction { db in
                try Self.checkLease(db, table, owner)
                let done = SQLiteDeletion(db, table, archives: archives)
                for suffix in ["", "_parked"] { try done.delete(inflight.rows, from: suffix) }
            }
        }

        // MARK: Maintenance

        /// Says about how many rows wait, from the first and the last number, since when the oldest does, and for which destinations.
        public func maintain() async throws(OutboxError) -> OutboxMaintenance {
            try checkOpen()
            let name = table.name()
            let (table, days) = (table, outbox.configuration.archiveDays)
            return try await outbox.database.perform { db in
                if let days { try SQLiteDeletion.shorten(db, table, days: days) }
                var result = OutboxMaintenance()
                let row = try Row.fetchOne(
                    db.cachedStatement(
                        sql: """
                            SELECT (SELECT max(id) FROM \(name)) - id + 1, \(Database.now) - created_at
                            FROM \(name) ORDER BY id LIMIT 1
                            """
                    )
                )
                result.backlog = row.map { Int(SQLiteRows.integer($0, 0)) } ?? 0
                result.oldestAge = row.map { .milliseconds(max(0, SQLiteRows.integer($0, 1))) }
                result.destinations = try Self.destinations(db, table)
                return result
            }
        }

        /// For which destinations rows wait: the index is looked at once for each slot and destination, however many rows there are.
        private static func destinations(_ db: Database, _ table: OutboxTable) throws -> Set<String> {
            let next = try db.cachedStatement(
                sql: """
                    SELECT slot, destination FROM \(table.name()) WHERE (slot, destination) > (?, ?)
                    ORDER BY slot, destination LIMIT 1
                    """
            )
            var names: Set<String> = []
            var (slot, name) = (Int64(-1), "")
            // Names are the service's: some thousands are an error of its own, of which a part says enough.
            for _ in 0..<1_000 {
                guard let row = try Row.fetchOne(next, arguments: [slot, name]) else { break }
                (slot, name) = (SQLiteRows.integer(row, 0), SQLiteRows.text(row, 1))
                names.insert(name)
            }
            return names
        }

        // MARK: Waking

        /// Waits for a commit of this process, or one of another process within the poll interval.
        @discardableResult
        public func waitForWork(atMost timeout: Duration) async -> Bool {
            guard state.withLock({ !$0.isClosed }) else { return false }
            let deadline = ContinuousClock.now + timeout
            guard let interval = outbox.configuration.pollInterval else { return await watch.wait(until: deadline) }
            return await withTaskGroup(of: Void.self) { group in
                group.addTask { [self] in
                    // Time is what is waited for: SQLite tells a process of no other's commits, so they are looked for.
                    while !Task.isCancelled, ContinuousClock.now < deadline {
                        if await sawOtherProcess() { return watch.wake() }
                        try? await Task.sleep(for: interval)
                    }
                }
                let hasCome = await watch.wait(until: deadline)
                group.cancelAll()
                return hasCome
            }
        }

        /// Whether another connection has committed since the last look (`PRAGMA data_version`).
        private func sawOtherProcess() async -> Bool {
            do {
                let version = try await outbox.database.perform(Self.dataVersion)
                return state.withLock { state in
                    defer { state.dataVersion = version }
                    return state.dataVersion != version
                }
            } catch {
                // The next call says what is wrong.
                return true
            }
        }

        /// Gives the lease back, so that the next publisher need not wait for its end. It waits a second for that at most: while the
        /// connection that writes is busy, the lease is given back once it is free. Where the database does not let it, the next session of
        /// this outbox takes the lease over.
        public func close() async {
            let (isFirst, holdsLease) = state.withLock { state in
                defer { state.isClosed = true }
                return (!state.isClosed, state.holdsLease)
            }
            guard isFirst else { return }
            watch.wake()
            if holdsLease { outbox.orphans.insert(owner) }
            let isOver = TimedWait<Void>()
            // It has its place on the connection at once: what is called after this comes behind it there, too.
            outbox.database.asyncWriteWithoutTransaction { [self] db in
                giveBack(db)
                isOver.resume(())
            }
            // Time is what is waited for: a connection that is busy, for minutes perhaps, does not say for how long.
            _ = await isOver.value(until: .after(.seconds(1)))
        }

        private func giveBack(_ db: Database) {
            let statement = """
                UPDATE \(table.name("_lease")) SET owner = NULL, name = NULL, since = NULL, until = NULL WHERE owner = ?
                """
            do {
                try db.inTransaction(.immediate) {
                    try db.execute(sql: statement, arguments: [owner])
                    return .commit
                }
                outbox.orphans.remove(owner)
            } catch {
                // A call that was on its way when it was closed may have taken it.
                if state.withLock({ $0.holdsLease }) { outbox.orphans.insert(owner) }
            }
        }
    }

    extension Duration {
        /// Whole milliseconds.
        var milliseconds: Int64 {
            let (seconds, attoseconds) = components
            return seconds * 1_000 + attoseconds / 1_000_000_000_000_000
        }
    }
#endif
