/// What the broker said when it closed a channel with all that was under way on it: for which message, as far as it names one. A value.
///
/// It names the exchange that is missing (404) or not allowed (403), the topic that is not allowed (403) and the user id that is not
/// the connection's (406, `rabbit_access_control`); of what else it refuses of a message it does not say in which.
struct ChannelRefusal {
    private let code: Int?
    private let text: String

    init(_ error: RabbitError) {
        code = error.code
        text = error.reason
    }

    /// Whether it was for this message.
    ///
    /// - Parameter isAlone: Whether no other message was under way.
    func concerns(_ message: RabbitMessage, isAlone: Bool) -> Bool {
        switch code {
        case 403 where text.contains(Self.topic):
            // Of one exchange, whose other topics may be allowed. Newer brokers look at the further keys (`CC`, `BCC`) too.
            message.routingKeys.contains { names($0, after: Self.topic) }
                && (isCut || names(message.exchange, after: Self.exchange))
        case 404, 403: names(message.exchange, after: Self.exchange)
        case 406 where text.contains("user_id"):
            message.properties.userID.map { names($0, after: "user_id property set to '") } ?? false
        case 406 where text.contains("message size"):
            // "message size 134217729 is larger than configured max size 134217728"
            isAlone || text.contains("message size \(message.body.count) ")
        default: false
        }
    }

    /// "write access to topic 'a.b' in exchange exchange 'x' in vhost '/' refused for user 'u'"; without "write" before RabbitMQ 3.12.
    private static let topic = "access to topic '"
    private static let exchange = "exchange '"

    /// Whether the text is not whole: a reply has 255 bytes, and RabbitMQ ends a longer one with three dots.
    private var isCut: Bool { text.hasSuffix("...") }

    /// Whether the text has this name, or as much of it as there was room for.
    private func names(_ name: String, after lead: String) -> Bool {
        if text.contains("\(lead)\(name)'") { return true }
        guard isCut, let start = text.firstRange(of: lead)?.upperBound else { return false }
        var rest = text[start...].dropLast(3)
        // A character that was cut in two.
        while rest.last == "\u{FFFD}" { rest.removeLast() }
        return name.utf8.starts(with: rest.utf8)
    }
}

extension RabbitMessage {
    /// Its routing key, and those by which RabbitMQ routes it to further queues.
    fileprivate var routingKeys: [String] {
        [routingKey] + ["CC", "BCC"].flatMap { properties.headers[$0]?.array ?? [] }.compactMap(\.string)
    }
}
