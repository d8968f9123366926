import KafkaDelivery
import OutboxDelivery

/// The service's database, with its outbox and its inbox: SQLite or PostgreSQL.
protocol WorkStore: Sendable {
    /// What the publisher reads.
    var outbox: any OutboxStore & OutboxAdministration { get }

    /// Makes the tables.
    func migrate() async throws

    /// Stores a task and its event in one transaction.
    func create(_ title: String) async throws -> WorkItem

    /// Changes a task, and stores the event in the same transaction.
    ///
    /// - Returns: nil where there is none, or it is done.
    func finish(_ id: String) async throws -> WorkItem?

    func items() async throws -> [WorkItem]

    func projection() async throws -> Projection

    /// Lets a consumer begin where the inbox says.
    func begin(_ configuration: inout KafkaConsumer.Configuration)

    /// Handles events until the consumer is closed: each changes the projection once, and stores a call of the webhook in the
    /// same transaction.
    func consume(_ consumer: KafkaConsumer) async throws
}

extension OutboxMessage {
    /// The event of a change, for Kafka. Its key keeps the events of one task in order.
    static func event(_ kind: String, _ item: WorkItem) throws -> OutboxMessage {
        try OutboxMessage(
            topic: WorkEvent.topic,
            key: item.id,
            payload: JSON.encode(WorkEvent(id: item.id, title: item.title, kind: kind))
        )
    }

    /// The call of the webhook that tells of an event, for the destination `hooks`.
    static func hook(_ event: WorkEvent) throws -> OutboxMessage {
        try OutboxMessage(destination: "hooks", topic: "tasks/\(event.id)", key: event.id, payload: JSON.encode(event))
    }
}
