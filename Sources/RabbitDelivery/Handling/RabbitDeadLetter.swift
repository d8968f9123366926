/// What is known of a message that came to a dead-letter queue, or from a retry queue: by the broker's headers and by ours.
public struct RabbitDeadLetter: Sendable, Hashable {
    /// One entry of `x-death`: that a message left a queue for a reason, and how often.
    public struct Death: Sendable, Hashable {
        /// Why a message leaves a queue for its dead-letter exchange. More may come.
        public enum Reason: Sendable, Hashable {
            /// A consumer rejected it.
            case rejected
            /// It was there too long.
            case expired
            /// The queue was too long.
            case maximumLength
            /// It was delivered too often (quorum queues).
            case deliveryLimit
            /// Another one.
            case other(String)

            init(_ text: String) {
                self =
                    switch text {
                    case "rejected": .rejected
                    case "expired": .expired
                    case "maxlen": .maximumLength
                    case "delivery_limit": .deliveryLimit
                    default: .other(text)
                    }
            }
        }

        /// The queue that it left.
        public let queue: String
        /// Why.
        public let reason: Reason
        /// How often it left this queue for this reason.
        public let count: Int
        /// When it did so first, in the broker's whole seconds.
        public let time: RabbitTimestamp?
        /// The exchange by which it had come there.
        public let exchange: String
        /// The keys with which it had come there.
        public let routingKeys: [String]
        /// Its own time to live, which was taken away.
        public let originalExpiration: Duration?
    }

    /// What the broker says, the newest first: one entry for each queue and reason. What it said before the message waited in a
    /// retry queue is there too.
    public let deaths: [Death]
    /// The exchange to which it was published first: as this package has noted it, or as its first death says.
    public let exchange: String?
    /// The key with which it was published first.
    public let routingKey: String?
    /// The queue in which it failed first.
    public let queue: String?
    /// What went wrong, in words; only where the letter was published by a client.
    public let error: String?
    /// The error's type.
    public let errorType: String?
    /// How often its handler ran; only where the letter was published by this package.
    public let attempts: Int?
    /// How often it was redriven.
    public let redrives: Int

    /// Nil where the headers say nothing of the kind.
    init?(_ headers: RabbitTable) {
        deaths = Self.deaths(headers).map { Death($0) }
        let ours = [CopyHeader.exchange, CopyHeader.error, CopyHeader.queue]
        guard !deaths.isEmpty || ours.contains(where: { headers[$0] != nil }) else { return nil }
        // The first death is named beside the list: in the list an entry comes to the front each time it counts.
        let first = Self.firstDeath(headers, deaths)
        exchange = headers[CopyHeader.exchange]?.string ?? first?.exchange
        routingKey = headers[CopyHeader.routingKey]?.string ?? first?.routingKeys.first
        queue = headers[CopyHeader.queue]?.string ?? headers["x-first-death-queue"]?.string ?? first?.queue
        error = headers[CopyHeader.error]?.string
        errorType = headers[CopyHeader.errorType]?.string
        attempts = headers[CopyHeader.attempts]?.integer.map { Int(clamping: $0) }
        redrives = Self.redrives(headers)
    }

    /// The entries of `x-death`, and those from before: one for each queue and reason, with the whole count and the first time.
    static func deaths(_ headers: RabbitTable) -> [RabbitTable] {
        func entries(_ name: String) -> [RabbitTable] { (headers[name]?.array ?? []).compactMap(\.table) }
        var earlier = entries(CopyHeader.copiedDeaths)
        var all: [RabbitTable] = []
        for var death in entries("x-death") {
            if let index = earlier.firstIndex(where: {
                $0["queue"] == death["queue"] && $0["reason"] == death["reason"]
            }) {
                let before = earlier.remove(at: index)
                let counts = [before, death].map { max($0["count"]?.integer ?? 1, 0) }
                let (sum, overflows) = counts[0].addingReportingOverflow(counts[1])
                death["count"] = .int64(overflows ? .max : sum)
                if let time = before["time"] { death["time"] = time }
            }
            all.append(death)
        }
        return all + earlier
    }

    private static func firstDeath(_ headers: RabbitTable, _ deaths: [Death]) -> Death? {
        guard let queue = headers["x-first-death-queue"]?.string, let reason = headers["x-first-death-reason"]?.string
        else {
            return deaths.last
        }
        return deaths.last { $0.queue == queue && $0.reason == Death.Reason(reason) } ?? deaths.last
    }

    static func redrives(_ headers: RabbitTable) -> Int {
        Int(clamping: max(headers[CopyHeader.redrives]?.integer ?? 0, 0))
    }
}

extension RabbitDeadLetter.Death {
    fileprivate init(_ table: RabbitTable) {
        queue = table["queue"]?.string ?? ""
        reason = Reason(table["reason"]?.string ?? "")
        count = Int(clamping: table["count"]?.integer ?? 1)
        if case .timestamp(let time) = table["time"] { self.time = time } else { time = nil }
        exchange = table["exchange"]?.string ?? ""
        routingKeys = (table["routing-keys"]?.array ?? []).compactMap(\.string)
        originalExpiration =
            table["original-expiration"]?.string.flatMap { RabbitProperties.expiration(fromText: $0) }
    }
}

extension RabbitConsumer.Delivery {
    /// What is known of it as a dead letter; nil where it is none.
    public var deadLetter: RabbitDeadLetter? { RabbitDeadLetter(headers) }
}
