#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// A message that is stored in the outbox: a row, as a publisher reads it and a destination gets it.
public struct OutboxEvent: Sendable, Hashable {
    /// The row: what names it in the table.
    public struct ID: Sendable, Hashable, Comparable {
        /// 0 to 31, from the key: messages with the same key have the same slot.
        public let slot: Int
        /// The number in the order of the table; gaps are usual.
        public let number: Int64

        /// A row's name.
        public init(slot: Int, number: Int64) {
            self.slot = slot
            self.number = number
        }

        /// In the order of the table.
        public static func < (left: ID, right: ID) -> Bool {
            (left.number, left.slot) < (right.number, right.slot)
        }
    }

    /// Which table the row is in.
    public enum Origin: Sendable, Hashable {
        /// In the outbox.
        case outbox
        /// Among the parked, and flagged to be sent again.
        case parked
    }

    /// The row.
    public let id: ID

    /// When it was written, by the database's clock.
    public let createdAt: Date

    /// What was written.
    public let message: OutboxMessage

    /// Where the row is.
    public let origin: Origin

    /// Why the row cannot be delivered, for instance because its headers are not what they have to be; nil for rows as this
    /// library writes them. A publisher parks such a row without asking its destination.
    public let defect: String?

    /// How many slots there are. Rows are written with a slot of 0 to 31 for good.
    public static let slotCount = 32

    /// A stored message.
    public init(id: ID, createdAt: Date, message: OutboxMessage, origin: Origin = .outbox, defect: String? = nil) {
        self.id = id
        self.createdAt = createdAt
        self.message = message
        self.origin = origin
        self.defect = defect
    }

    /// About how many bytes it takes in memory.
    public var weight: Int {
        256 + message.idempotencyKey.utf8.count + message.topic.utf8.count
            + (message.key?.count ?? 0) + (message.payload?.count ?? 0)
            + message.headers.reduce(0) { $0 + 64 + $1.name.utf8.count + ($1.value?.count ?? 0) }
            + message.attributes.reduce(0) { $0 + 64 + $1.key.utf8.count + $1.value.utf8.count }
    }
}
