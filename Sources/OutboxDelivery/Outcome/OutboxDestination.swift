/// Where events go: a Kafka cluster, an HTTP service, RabbitMQ, or anything else that conforms.
///
/// ```swift
/// struct Printer: OutboxDestination {
///     func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
///         batch.map { event in
///             print(event.message.topic, event.id.number)
///             return .accepted(OutboxReceipt(place: "stdout"))
///         }
///     }
/// }
/// ```
public protocol OutboxDestination: Sendable {
    /// Delivers a batch and says what became of each event.
    ///
    /// The batch is in order. Events with the same key have to arrive in that order, and where one is not accepted those
    /// after it with its key must not be sent (their outcome is ``OutboxOutcome/unavailable(reason:retryAfter:)``); events with
    /// different keys, and those without a key, are independent of each other. Several batches may be under way at a time, of
    /// different slots, and so of different keys.
    ///
    /// It may take as long as it needs: the publisher goes on with other slots. Where the task is cancelled it has to end
    /// soon, with ``OutboxOutcome/unknown(reason:)`` for what was on its way. Sending again has to be expected: an event comes
    /// again, with the same idempotency key, where the publisher died before it deleted the row.
    ///
    /// - Parameter batch: At least one event.
    /// - Returns: One outcome for each event, in the order of the batch. A missing one counts as unknown.
    func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome]

    /// How many events a batch should have at most, 1 or more; 2,000 where a destination does not say. The rows of a batch are
    /// deleted when all of it has its outcome, so that where each event takes long, small batches leave fewer to be sent
    /// again after a crash.
    var maximumBatchCount: Int { get }

    /// Whether events go to places that are away independently of each other, as webhooks of many hosts; false where a destination
    /// does not say. A batch without any verdict then says nothing about other events: those of it wait, each key for itself, and the
    /// destination as a whole does not count as away. Ten batches in a row without one, over half a minute, are told as
    /// ``OutboxPublisher/Event/destinationUnavailable(_:reason:)``, and stop nothing.
    var hasManyPlaces: Bool { get }

    /// Where an event goes, in few words for a person and without secrets, where there are many places; nil where a destination does not say.
    /// Asked while a place gives no verdict, so that the publisher tells when that is away
    /// (``OutboxPublisher/Event/placeUnavailable(_:destination:reason:)``) and when it is back.
    func place(of event: OutboxEvent) -> String?
}

extension OutboxDestination {
    /// 2,000.
    public var maximumBatchCount: Int { 2_000 }

    /// False.
    public var hasManyPlaces: Bool { false }

    /// Nil.
    public func place(of event: OutboxEvent) -> String? { nil }
}
