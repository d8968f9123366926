public import OutboxDelivery
public import RabbitDelivery

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

extension RabbitMessage {
    /// A row of an outbox as a message: mandatory, persistent, with the row's topic as the routing key.
    ///
    /// | in the row | in the message |
    /// |---|---|
    /// | topic | the routing key, unless the attribute `routing-key` is there, which may be empty |
    /// | payload | the body; a row without one has an empty one |
    /// | headers | headers: text where they are UTF-8, other bytes as such, null as void; of a name that repeats the last |
    /// | key | header `outbox-key`, which a consumer's `.perKey` can go by |
    /// | idempotency key | `message-id` where it has at most 255 bytes, and header `idempotency-key` |
    /// | id, creation | header `outbox-event-id` (slot and number), `timestamp`, header `outbox-created-at` (milliseconds since 1970) |
    ///
    /// The attributes are `exchange`, `routing-key`, `content-type`, `content-encoding`, `type`, `correlation-id`, `reply-to`, `app-id`,
    /// `priority` (0 to 255), `expiration` (milliseconds, 0 to 2³²-1), and `mandatory` (`true` or `false`).
    ///
    /// - Parameters:
    ///   - event: The row.
    ///   - exchange: The exchange where the row has no attribute `exchange`.
    /// - Throws: ``OutboxDelivery/OutboxError`` of kind `invalidMessage` where an attribute is not what it has to be.
    public init(_ event: OutboxEvent, exchange: String = "") throws(OutboxError) {
        let row = event.message
        self.init(
            exchange: row.attributes["exchange"] ?? exchange,
            routingKey: row.attributes["routing-key"] ?? row.topic,
            body: row.payload ?? [],
            properties: try RabbitProperties(row),
            isMandatory: try row.attribute("mandatory", "true or false") { Bool($0) } ?? true
        )
        stamp(event)
    }

    /// Says which row it is, so that a receiver can tell a repetition.
    mutating func stamp(_ event: OutboxEvent) {
        let row = event.message
        if row.idempotencyKey.utf8.count <= 255 { properties.messageID = row.idempotencyKey }
        properties.headers[OutboxMessage.idempotencyKeyHeader] = .string(row.idempotencyKey)
        properties.headers["outbox-event-id"] = .string("\(event.id.slot)/\(event.id.number)")
        let milliseconds = (event.createdAt.timeIntervalSince1970 * 1_000).rounded(.down)
        let created = Int64(exactly: milliseconds) ?? 0
        properties.headers["outbox-created-at"] = .int64(created)
        if properties.timestamp == nil, let seconds = UInt64(exactly: created / 1_000) {
            properties.timestamp = RabbitTimestamp(secondsSince1970: seconds)
        }
        if let key = row.key { properties.headers["outbox-key"] = RabbitFieldValue(outbox: key) }
    }
}

extension RabbitProperties {
    fileprivate init(_ row: OutboxMessage) throws(OutboxError) {
        self.init(headers: RabbitTable(row.headers.map { ($0.name, RabbitFieldValue(outbox: $0.value)) }))
        contentType = row.attributes["content-type"]
        contentEncoding = row.attributes["content-encoding"]
        type = row.attributes["type"]
        correlationID = row.attributes["correlation-id"]
        replyTo = row.attributes["reply-to"]
        appID = row.attributes["app-id"]
        priority = try row.attribute("priority", "a number from 0 to 255") { UInt8($0) }
        expiration = try row.attribute("expiration", "a number of milliseconds") { UInt32($0) }
            .map { .milliseconds(Int64($0)) }
    }
}

extension RabbitFieldValue {
    /// Text where it is UTF-8: what most services in other languages expect.
    fileprivate init(outbox bytes: [UInt8]?) {
        guard let bytes else {
            self = .void
            return
        }
        self = String(validating: bytes, as: UTF8.self).map { .string($0) } ?? .bytes(bytes)
    }
}

extension OutboxMessage {
    /// An attribute that has to have a form; nil where it is not there.
    fileprivate func attribute<Value>(
        _ name: String,
        _ form: String,
        _ read: (String) -> Value?
    ) throws(OutboxError) -> Value? {
        guard let text = attributes[name] else { return nil }
        guard let value = read(text) else { throw .invalidMessage("its attribute \(name) is not \(form)") }
        return value
    }
}
