/// The database of an outbox, as a publisher and a person's tools see it: PostgreSQL, SQLite, or another one that conforms.
///
/// What it promises a publisher:
/// - **Rows of a slot are read by the session that owns the slot**, in the order of their numbers, and only committed ones. Where
///   a row is seen, a row with the same key whose transaction was committed before that row was begun is seen too.
/// - **A session that lost a slot can do nothing to its rows**: ``OutboxSession/settle(_:)`` then fails with
///   ``OutboxError/Kind/fenced`` or `unavailable`, and changes nothing.
public protocol OutboxStore: Sendable {
    /// What a publisher works through.
    associatedtype Session: OutboxSession

    /// Checks the schema and the database's settings, and opens a session. Owns nothing yet.
    ///
    /// - Throws: ``OutboxError``: with the recovery `fixRequest` where it will not work until a person has changed something.
    func openSession() async throws(OutboxError) -> Session

    /// Whether its sessions can note batches, which an ``ExactlyOnceDestination`` needs; false where a store does not say.
    var notesBatches: Bool { get }
}

extension OutboxStore {
    /// False.
    public var notesBatches: Bool { false }
}

/// One publisher's work with a store: PostgreSQL's is one connection, whose locks are the slots; SQLite's is a row that has the
/// owner and until when.
///
/// The publisher calls ``settle(_:)``, ``read(_:)``, ``maintain()`` and ``balance(busy:)`` in any order, also before an earlier
/// call has returned; the store runs them in the order in which they were called. An error ends the session: the publisher closes
/// it and opens another.
public protocol OutboxSession: Sendable {
    /// Takes slots up to its fair share, gives surplus ones back, and shows that the publisher is alive. Called at the
    /// beginning and each ``keepAlive``.
    ///
    /// - Parameter busy: Slots with rows in flight or waiting for a retry: these are not given back.
    /// - Returns: What it owns now, and how many publishers there are. A slot that is not in it any more was given back.
    func balance(busy: Set<Int>) async throws(OutboxError) -> OutboxShare

    /// Gives slots back and takes none, counts no more among the publishers that share them, and shows that the publisher is alive. Called
    /// instead of ``balance(busy:)`` while the publisher closes. A store that does not say calls that.
    ///
    /// - Parameter busy: Slots with rows in flight: these are not given back.
    /// - Returns: What it owns now. A slot that is not in it any more was given back.
    func leave(busy: Set<Int>) async throws(OutboxError) -> OutboxShare

    /// How often ``balance(busy:)`` has to be called.
    var keepAlive: Duration { get }

    /// Reads the first rows of slots.
    func read(_ request: OutboxReadRequest) async throws(OutboxError) -> [OutboxEvent]

    /// Deletes, parks and moves rows, all in one transaction.
    ///
    /// - Returns: How many rows were parked.
    @discardableResult
    func settle(_ settlement: OutboxSettlement) async throws(OutboxError) -> Int

    /// The note of the last batch of a slot for a destination; nil where there was none.
    func lastInflight(slot: Int, destination: String) async throws(OutboxError) -> OutboxInflight?

    /// Notes a batch before it is sent. Committed when it returns.
    ///
    /// - Throws: ``OutboxError``, of kind `fenced` where the slot is another session's, or the last batch has this number or a greater one.
    func note(_ inflight: OutboxInflight) async throws(OutboxError)

    /// Deletes the rows of a batch that turned out to be stored, as far as they are there.
    func conclude(_ inflight: OutboxInflight) async throws(OutboxError)

    /// Looks after what the store has to do now and then: finds the floor below which no row is left, deletes archives that
    /// are old. Called about every second, and four times as often while there are rows.
    ///
    /// - Returns: What was found, for metrics and log lines.
    func maintain() async throws(OutboxError) -> OutboxMaintenance

    /// Waits until there may be new rows, or a person flagged parked ones, or the time is over. An error of the session ends it,
    /// too: the next call says which. Returns at once where something came since the last wait.
    ///
    /// - Returns: Whether something came.
    @discardableResult
    func waitForWork(atMost timeout: Duration) async -> Bool

    /// Gives everything back and ends. Does not fail; ends soon also where the database does not answer.
    func close() async
}

extension OutboxSession {
    /// Calls ``balance(busy:)``.
    public func leave(busy: Set<Int>) async throws(OutboxError) -> OutboxShare { try await balance(busy: busy) }

    /// Of a store that does not note batches.
    public func lastInflight(slot: Int, destination: String) async throws(OutboxError) -> OutboxInflight? {
        throw .notesNoBatches
    }

    /// Of a store that does not note batches.
    public func note(_ inflight: OutboxInflight) async throws(OutboxError) { throw .notesNoBatches }

    /// Of a store that does not note batches.
    public func conclude(_ inflight: OutboxInflight) async throws(OutboxError) { throw .notesNoBatches }
}

extension OutboxError {
    static let notesNoBatches = OutboxError.invalidConfiguration(
        "use another store or another destination: exactly once needs a store that notes batches"
    )
}

/// What a session owns.
public struct OutboxShare: Sendable, Hashable {
    /// The slots.
    public var slots: Set<Int>
    /// How many publishers share them, this one included.
    public var publishers: Int
    /// How many of the slots are due to others, and were busy. The publisher reads nothing of so many, so that the next calls find them
    /// idle; of one that stays busy for three calls it reads again, and chooses another one.
    public var surplus: Int

    /// A share.
    public init(slots: Set<Int>, publishers: Int, surplus: Int = 0) {
        self.slots = slots
        self.publishers = publishers
        self.surplus = surplus
    }
}

/// What to read: the first rows of slots that are for one destination. A slot and a destination together are a lane, in which one
/// batch is in flight at a time; so a destination that is away keeps no other one from its rows.
public struct OutboxReadRequest: Sendable, Hashable {
    /// Whose rows.
    public var destination: String
    /// Which slots; each of them is owned, and has no rows for this destination in flight.
    public var slots: [Int]
    /// How many rows of each slot, 1 or more.
    public var limitPerSlot: Int
    /// How many bytes of payload in all, about; each slot has an equal share, and at least one row of it comes anyway. It ends behind the row
    /// with which its share is used up: a slot of which fewer rows and less than half of its share came has no more.
    public var maximumBytes: Int
    /// Keys whose rows are left out: they wait for a retry.
    public var withheldKeys: [Int: Set<[UInt8]>]
    /// Numbers of rows without a key that are left out.
    public var withheldNumbers: [Int: Set<Int64>]

    /// What to read.
    public init(
        destination: String,
        slots: [Int],
        limitPerSlot: Int,
        maximumBytes: Int,
        withheldKeys: [Int: Set<[UInt8]>] = [:],
        withheldNumbers: [Int: Set<Int64>] = [:]
    ) {
        self.destination = destination
        self.slots = slots
        self.limitPerSlot = limitPerSlot
        self.maximumBytes = maximumBytes
        self.withheldKeys = withheldKeys
        self.withheldNumbers = withheldNumbers
    }
}

/// What became of rows.
public struct OutboxSettlement: Sendable, Hashable {
    /// An event that was given up.
    public struct Parking: Sendable, Hashable {
        /// The event.
        public var event: OutboxEvent
        /// How many attempts it had.
        public var attempts: Int
        /// Why it was given up.
        public var reason: String
        /// Whether the rows with its key that follow are parked as well, now and whenever they are written later, until the
        /// parked ones are gone.
        public var withFollowers: Bool

        /// An event that was given up.
        public init(event: OutboxEvent, attempts: Int, reason: String, withFollowers: Bool) {
            self.event = event
            self.attempts = attempts
            self.reason = reason
            self.withFollowers = withFollowers
        }
    }

    /// Rows that are done, and deleted.
    public var accepted: [OutboxEvent] = []
    /// Rows that are given up.
    public var parked: [Parking] = []
    /// Whether they were read in an earlier session. Since then numbers may have begun anew, after a failover for instance: a row is
    /// the one that was read where its idempotency key is the same, too.
    public var isOfEarlierSession = false

    /// Nothing.
    public init() {}

    /// Whether there is nothing in it.
    public var isEmpty: Bool { accepted.isEmpty && parked.isEmpty }
}

/// What looking after a store found.
public struct OutboxMaintenance: Sendable, Hashable {
    /// Rows that were below the floor, which should never be: each is a bug, or a row that was written by hand with a number of
    /// its own. They are published all the same.
    public var foundBelowFloor = 0
    /// Whose rows are the first of their slots: one that the publisher does not know is told, for no publisher may have it.
    public var destinations: Set<String> = []
    /// About how many rows wait; nil where the store does not know without counting.
    public var backlog: Int?
    /// How long the oldest row that waits has done so; nil where none waits, or the store does not know.
    public var oldestAge: Duration?

    /// Nothing was found.
    public init() {}
}
