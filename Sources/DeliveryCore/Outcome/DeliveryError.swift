/// What every error about a delivery says, wherever the message was to go: whether it may be stored all the same, and what
/// to do.
///
/// ```swift
/// func deliver(_ order: Order, to destination: some Destination<KafkaMessage>) async throws {
///     do {
///         try await destination.send(message(for: order))
///     } catch where error.persistence == .notPersisted && error.recovery == .retry {
///         …                                       // certainly not stored; the same call may succeed later
///     }
/// }
/// ```
public protocol DeliveryError: Error, CustomStringConvertible {
    /// Whether the message may be stored; nil where the error is not about a message.
    var persistence: DeliveryPersistence? { get }

    /// What can be done about it.
    var recovery: DeliveryRecovery { get }

    /// What happened, in a sentence for a person. Values of secret settings never appear in it.
    var reason: String { get }

    /// How long the other side asked to be left alone before the next attempt; nil where it did not.
    var retryAfter: Duration? { get }
}

extension DeliveryError {
    /// Nil: most destinations do not say.
    public var retryAfter: Duration? { nil }
}

extension DeliveryError {
    /// What to do, what happened, and whether the message may be stored, for a person.
    ///
    /// - Parameters:
    ///   - isCancelled: Whether the error is an end that was asked for: then that is said, and not what to do.
    ///   - isClosed: Whether it is the other such end.
    ///   - notPersisted: How that is said where it is not about a message.
    ///   - possiblyPersisted: How that is said.
    package func sentences(
        isCancelled: Bool,
        isClosed: Bool,
        notPersisted: String = "The message is not stored.",
        possiblyPersisted: String = "The message may be stored."
    ) -> String {
        let advice =
            switch recovery {
            case .retry: "Try again later"
            case .fixRequest: "Change the request"
            case .abortTransaction: "Abort the transaction"
            case .recreateClient: "Make a new client"
            }
        let stored =
            switch persistence {
            case .notPersisted: " " + notPersisted
            case .possiblyPersisted: " " + possiblyPersisted
            case nil: ""
            }
        let beginning = isCancelled ? "Cancelled" : isClosed ? "Closed" : advice
        // A broker's own words may end with one.
        let end = reason.hasSuffix(".") ? "" : "."
        return "\(beginning): \(reason)\(end)\(stored)"
    }
}
