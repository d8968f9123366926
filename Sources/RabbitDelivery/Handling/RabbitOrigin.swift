internal import DeliveryCore

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

    /// What is left of ours in a copy that has no room for more: without these it does not say where it comes from.
    static let essential: Set = [exchange, routingKey, queue, attempts]

    /// What is left out of a copy whose headers do not fit into a frame, in the order in which that is tried. The application's headers
    /// never are: those fitted.
    enum Shedding: CaseIterable {
        case nothing
        /// What the error said.
        case text
        /// All that this package and the broker add, but the origin.
        case allButOrigin
    }
}

extension RabbitOrigin {
    /// The origin as copies carry it, or where the message was received from.
    ///
    /// Any sender may write these headers: a name that is none, for it is too long for AMQP, does not count, and no number of attempts is
    /// too large for one more.
    init(_ delivery: RabbitConsumer.Delivery, queue: String) {
        let headers = delivery.headers
        func name(_ header: String) -> String? {
            headers[header]?.string.flatMap { $0.utf8.count <= 255 ? $0 : nil }
        }
        let before = max(headers[CopyHeader.attempts]?.integer ?? 0, 0)
        let (attempts, overflows) = Int(clamping: before).addingReportingOverflow(delivery.attempt)
        self.init(
            exchange: name(CopyHeader.exchange) ?? delivery.exchange,
            routingKey: name(CopyHeader.routingKey) ?? delivery.routingKey,
            queue: name(CopyHeader.queue) ?? queue,
            attempts: overflows ? .max - 1 : min(attempts, .max - 1)
        )
    }

    /// A copy of a message for another place, with its origin in the headers.
    ///
    /// Its time to live goes into a header: it would end the copy too. So does its user id: the broker refuses one that is not the
    /// connection's (406), and closes the channel with all that is under way.
    ///
    /// - Parameters:
    ///   - comesBack: Whether the broker sends it back when its time is over. It takes a message that has been in the queue before for
    ///     one that goes round for ever, and drops it, unless a consumer had rejected it (`x-death`): so the copy begins anew, with what was there in a header of ours.
    ///   - shedding: What is left out.
    func copy(
        of delivery: RabbitConsumer.Delivery,
        exchange: String,
        routingKey: String,
        error: any Error,
        comesBack: Bool,
        without shedding: CopyHeader.Shedding = .nothing
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
        headers[CopyHeader.errorType] = .string("\(type(of: error))".shortened(toBytes: 255))
        headers[CopyHeader.error] = .string("\(error)".shortened(toBytes: CopyHeader.maximumErrorBytes))
        if let expiration = message.properties.expirationText { headers[CopyHeader.expiration] = .string(expiration) }
        if let userID = message.properties.userID { headers[CopyHeader.userID] = .string(userID) }
        switch shedding {
        case .nothing: break
        case .text: headers[CopyHeader.error] = nil
        case .allButOrigin:
            for name in CopyHeader.all + CopyHeader.brokers where !CopyHeader.essential.contains(name) {
                headers[name] = nil
            }
        }
        message.properties.headers = headers
        message.properties.expiration = nil
        message.properties.userID = nil
        return message
    }
}
