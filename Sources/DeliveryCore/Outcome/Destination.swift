/// Where messages can be sent, each send with exactly one outcome: a receipt that says where the message is stored, or an
/// error that says whether it may be.
///
/// A producer is one. Code that is written against this protocol is tested without a cluster, with a destination of the
/// test's own:
///
/// ```swift
/// struct Billing<Orders: Destination<KafkaMessage>> {
///     let orders: Orders
/// }
/// ```
public protocol Destination<Message>: Sendable {
    /// What is sent.
    associatedtype Message: Sendable
    /// Where it is stored, as the other side confirmed it.
    associatedtype Receipt: Sendable
    /// Why it is not, or may not be.
    associatedtype Failure: DeliveryError

    /// Sends a message and waits until it is confirmed.
    ///
    /// - Returns: Where the message is stored.
    /// - Throws: An error that says whether the message may be stored, and what to do.
    @discardableResult
    func send(_ message: Message) async throws(Failure) -> Receipt

    /// Sends many messages, in order, and waits once for all of them.
    ///
    /// - Returns: For each message, in the order given, where it is stored or why not. One failure does not keep the others
    ///   from being sent.
    func send(contentsOf messages: some Sequence<Message>) async -> [Result<Receipt, Failure>]
}
