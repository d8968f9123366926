#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// What a person does with an outbox: set it up, look at it, decide about parked events. The command-line tool works through it.
public protocol OutboxAdministration: Sendable {
    /// Creates the tables, or brings them to this library's version; does nothing where they are.
    ///
    /// - Returns: The numbers of the migrations that were run.
    @discardableResult
    func migrate() async throws(OutboxError) -> [Int]

    /// How much waits, where, and who publishes it.
    func status() async throws(OutboxError) -> OutboxStatus

    /// Parked events, in the order in which they would be sent, those that hold back their key first.
    ///
    /// - Parameters:
    ///   - key: Only those with this key; nil for all.
    ///   - limit: How many at most.
    func parked(key: [UInt8]?, limit: Int) async throws(OutboxError) -> [OutboxParkedEvent]

    /// Decides about parked events. The publisher that owns their slot carries it out, in order.
    ///
    /// - Parameters:
    ///   - action: What to do.
    ///   - selection: With which.
    /// - Returns: How many events it is about.
    func decide(_ action: OutboxParkedAction, _ selection: OutboxParkedSelection) async throws(OutboxError) -> Int
}

/// What to do with parked events.
public enum OutboxParkedAction: String, Sendable, Hashable, CaseIterable {
    /// Send them again, in order, before anything newer with their key.
    case resume
    /// Delete them without sending.
    case discard
}

/// Which parked events.
public enum OutboxParkedSelection: Sendable, Hashable {
    /// All of them.
    case all
    /// All with this key.
    case key([UInt8])
    /// This one alone. A ``OutboxParkedAction/discard`` of the one that failed and a `resume` of its key skip it.
    case event(OutboxEvent.ID)
}

/// A parked event.
public struct OutboxParkedEvent: Sendable, Hashable {
    /// What it is.
    public var event: OutboxEvent
    /// How many attempts it had; zero for one that only follows.
    public var attempts: Int
    /// Why it was given up; for one that follows, that it does.
    public var reason: String
    /// When.
    public var parkedAt: Date
    /// What was decided and is not carried out yet.
    public var action: OutboxParkedAction?

    /// A parked event.
    public init(event: OutboxEvent, attempts: Int, reason: String, parkedAt: Date, action: OutboxParkedAction?) {
        self.event = event
        self.attempts = attempts
        self.reason = reason
        self.parkedAt = parkedAt
        self.action = action
    }
}

/// How much waits in an outbox, and who publishes it.
public struct OutboxStatus: Sendable, Hashable {
    /// What waits for one destination.
    public struct Waiting: Sendable, Hashable {
        /// The destination's name.
        public var destination: String
        /// The topic, or the path.
        public var topic: String
        /// How many rows.
        public var count: Int
        /// When the oldest was written.
        public var oldest: Date?

        /// What waits.
        public init(destination: String, topic: String, count: Int, oldest: Date?) {
            self.destination = destination
            self.topic = topic
            self.count = count
            self.oldest = oldest
        }
    }

    /// A publisher.
    public struct Publisher: Sendable, Hashable {
        /// How the database names it: `application_name`, address and process of PostgreSQL's session; SQLite's lease holder.
        public var name: String
        /// The slots that it owns, in order.
        public var slots: [Int]
        /// Since when it is connected, or has the lease.
        public var since: Date?

        /// A publisher.
        public init(name: String, slots: [Int], since: Date?) {
            self.name = name
            self.slots = slots
            self.since = since
        }
    }

    /// The schema's version.
    public var schemaVersion: Int
    /// By destination and topic, in the order of their names.
    public var waiting: [Waiting]
    /// Who publishes.
    public var publishers: [Publisher]
    /// How many events are parked.
    public var parkedCount: Int
    /// How many keys they have; events without a key count as one.
    public var parkedKeyCount: Int
    /// The database's clock when this was read.
    public var readAt: Date

    /// A status.
    public init(
        schemaVersion: Int,
        waiting: [Waiting],
        publishers: [Publisher],
        parkedCount: Int,
        parkedKeyCount: Int,
        readAt: Date
    ) {
        self.schemaVersion = schemaVersion
        self.waiting = waiting
        self.publishers = publishers
        self.parkedCount = parkedCount
        self.parkedKeyCount = parkedKeyCount
        self.readAt = readAt
    }

    /// How many rows wait in all.
    public var backlog: Int { waiting.reduce(0) { $0 + $1.count } }

    /// When the oldest row that waits was written.
    public var oldest: Date? { waiting.compactMap(\.oldest).min() }
}
