/// Whether a message that could not be confirmed may be where it was sent to (KIP-360's vocabulary).
public enum DeliveryPersistence: String, Sendable, Hashable {
    /// It is certainly not stored.
    case notPersisted
    /// It was handed to the network, and no answer says what became of it. Of a transaction: it may be committed.
    case possiblyPersisted
}
