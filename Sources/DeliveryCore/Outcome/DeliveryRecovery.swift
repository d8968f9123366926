/// What can be done about a delivery that failed.
public enum DeliveryRecovery: String, Sendable, Hashable {
    /// The same call may succeed later.
    case retry
    /// The same call will fail again: change the message, the configuration or the permissions first.
    case fixRequest
    /// Abort the transaction, then begin another.
    case abortTransaction
    /// This client is done; close it and make a new one.
    case recreateClient
}
