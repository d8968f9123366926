/// Where a message was received from first, and how often it was handled.
struct RabbitOrigin: Sendable, Hashable {
    var exchange: String
    var routingKey: String
    var queue: String
    /// Wherever it waited in between.
    var attempts: Int
}

/// The headers of copies: of dead letters, and of messages that wait in a retry queue. Exchange, key and error have the names that
/// Spring AMQP's `RepublishMessageRecoverer` gives them.
enum CopyHeader {
    static let exchange = "x-original-exchange"
    static let routingKey = "x-original-routingKey"
    static let error = "x-exception-message"
    static let errorType = "x-exception-type"
    static let queue = "x-original-queue"
    static let attempts = "x-attempts"
    static let userID = "x-original-user-id"
    /// What the broker calls it too, when it dead-letters a message that expires.
    static let expiration = "original-expiration"
    static let redrives = "x-redrives"

    /// What a message that is sent to its origin again does without.
    static let all = [
        exchange, routingKey, error, errorType, queue, attempts, userID, expiration, copiedRouting, copiedDeaths,
    ]

    /// What the broker adds for each queue that a message left (`x-death` and what stands beside it).
    static let brokers = [
        "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason", "x-last-death-exchange",
        "x-last-death-queue", "x-last-death-reason",
    ]

    /// What the broker adds to each delivery: how often there was one, and where in a stream it is.
    static let perDelivery = ["x-delivery-count", "x-stream-offset"]

    /// By which RabbitMQ routes a message to further queues ("Sender-selected Distribution"). Those have it already: a copy must not
    /// go there once more, nor count as stored because it did.
    static let routing = ["CC", "BCC"]
    /// What ``routing`` was, in a copy.
    static let copiedRouting = "x-original-cc"
    /// What `x-death` was, in a copy that comes back.
    static let copiedDeaths = "x-original-death"

    /// The longest text of an error that travels, in bytes: a frame holds all headers together.
    static let maximumErrorBytes = 4_096
}

extension RabbitOrigin {
    /// The origin as copies carry it, or where the message was received from.
    init(_ delivery: RabbitConsumer.Delivery, queue: String) {
        let headers = delivery.headers
        let attempts = headers[CopyHeader.attempts]?.integer.map { Int(clamping: $0) } ?? 0
        self.init(
            exchange: headers[CopyHeader.exchange]?.string ?? delivery.exchange,
            routingKey: headers[CopyHeader.routingKey]?.string ?? delivery.routingKey,
            queue: headers[CopyHeader.queue]?.string ?? queue,
            attempts: max(attempts, 0) &+ delivery.attempt
        )
    }

    /// A copy of a message for another place, with its origin in the headers.
    ///
    /// Its time to live goes into a header: it would end the copy too. So does its user id: the broker refuses one that is not the
    /// connection's (406), and closes the channel with all that is under way.
    ///
    /// - Parameter comesBack: Whether the broker sends it back when its time is over. It takes a message that has been in the queue before for
    ///   one that goes round for ever, and drops it, unless a consumer had rejected it (`x-death`): so the copy begins anew, with what was there in a header of ours.
    func copy(
        of delivery: RabbitConsumer.Delivery,
        exchange: String,
        routingKey: String,
        error: any Error,
        comesBack: Bool
    ) -> RabbitMessage {
        var message = delivery.content
        message.exchange = exchange
        message.routingKey = routingKey
        message.isMandatory = true
        message.properties.isPersistent = true
        var headers = message.properties.headers
        if let routed = headers["CC"] { headers[CopyHeader.copiedRouting] = routed }
        for name in CopyHeader.routing { headers[name] = nil }
        if comesBack {
            let deaths = RabbitDeadLetter.deaths(headers)
            if !deaths.isEmpty { headers[CopyHeader.copiedDeaths] = .array(deaths.map { .table($0) }) }
            for name in CopyHeader.brokers { headers[name] = nil }
        }
        // Of the queue or the stream that it was in.
        for name in CopyHeader.perDelivery { headers[name] = nil }
        headers[CopyHeader.exchange] = .string(self.exchange)
        headers[CopyHeader.routingKey] = .string(self.routingKey)
        headers[CopyHeader.queue] = .string(queue)
        headers[CopyHeader.attempts] = .int64(Int64(attempts))
        headers[CopyHeader.errorType] = .string(Self.shortened("\(type(of: error))", 255))
        headers[CopyHeader.error] = .string(Self.shortened("\(error)", CopyHeader.maximumErrorBytes))
        if let expiration = message.properties.expirationText { headers[CopyHeader.expiration] = .string(expiration) }
        if let userID = message.properties.userID { headers[CopyHeader.userID] = .string(userID) }
        message.properties.headers = headers
        message.properties.expiration = nil
        message.properties.userID = nil
        return message
    }

    /// The first characters, at most so many bytes of UTF-8.
    private static func shortened(_ text: String, _ maximum: Int) -> String {
        var result = text
        while result.utf8.count > maximum {
            result = String(result.prefix(result.count - max(1, (result.utf8.count - maximum) / 4)))
        }
        return result
    }
}
