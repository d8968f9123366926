#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// The note of a batch that is being stored exactly once: which rows of a slot are in it, and its number. It is committed in the
/// outbox's database before the batch is sent, and the destination stores its number together with the batch. So whoever finds the
/// note knows whether these rows are stored, by comparing the two numbers.
public struct OutboxInflight: Sendable, Hashable {
    /// Whose rows.
    public let slot: Int
    /// The destination's name.
    public let destination: String
    /// Grows with each batch of a slot and a destination, and no two batches have the same one, also where the database has forgotten
    /// the earlier ones. 1 or more.
    public let number: Int64
    /// The topic of the batch's first event, at which a destination may keep the number.
    public let topic: String
    /// The numbers of the rows.
    public let rows: [Int64]
    /// When it was noted, by the database's clock; nil where it is not yet.
    public let notedAt: Date?

    /// A note.
    public init(slot: Int, destination: String, number: Int64, topic: String, rows: [Int64], notedAt: Date? = nil) {
        self.slot = slot
        self.destination = destination
        self.number = number
        self.topic = topic
        self.rows = rows
        self.notedAt = notedAt
    }
}
