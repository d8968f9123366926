#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

extension RabbitMessage {
    /// A message from a value, as JSON, with the content type `application/json`.
    ///
    /// - Throws: What the encoder throws.
    public init(
        exchange: String = "",
        routingKey: String,
        value: some Encodable,
        properties: RabbitProperties = RabbitProperties(),
        isMandatory: Bool = true,
        encoder: JSONEncoder = JSONEncoder()
    ) throws {
        var properties = properties
        if properties.contentType == nil { properties.contentType = "application/json" }
        self.init(
            exchange: exchange,
            routingKey: routingKey,
            body: try encoder.encode(value),
            properties: properties,
            isMandatory: isMandatory
        )
    }
}

extension RabbitTimestamp {
    /// The second that a date is in; 1970 for one before.
    public init(_ date: Date) {
        self.init(secondsSince1970: UInt64(exactly: max(date.timeIntervalSince1970, 0).rounded(.down)) ?? 0)
    }

    /// The same as a date.
    public var date: Date { Date(timeIntervalSince1970: Double(secondsSince1970)) }
}
