/// What is asked for on a new channel, one request after the other: the channel itself, the topology, then what the client
/// needs. A value.
struct ChannelSetup {
    private let requests: [ClientMethod]
    private var index = 0
    /// The consumer's tag, as the broker has it.
    private(set) var consumerTag: String?

    /// How many messages were ready in the queues that were declared or looked for.
    private(set) var messageCounts: [String: Int] = [:]

    /// Whether the client had a channel a short while ago, on which the same was accepted.
    private let isResuming: Bool

    init(_ requests: [ClientMethod], isResuming: Bool = false) {
        self.requests = [.channelOpen] + requests
        self.isResuming = isResuming
    }

    /// What to send first.
    var first: ClientMethod { requests.first ?? .channelOpen }

    /// The answer to the request under way.
    ///
    /// - Returns: What to send next; nil where all is done.
    /// - Throws: What the broker refuses, and of which request.
    mutating func advance(_ method: ServerMethod) throws(RabbitError) -> ClientMethod? {
        switch method {
        case .channelOpenOk, .done: break
        case .queueDeclareOk(let queue, let messages, _): messageCounts[queue] = messages
        case .consumeOk(let tag): consumerTag = tag
        case .channelClose(let closing): throw refused(closing)
        default: throw .protocolViolation("the broker said \(method) while a channel was set up")
        }
        index += 1
        return index < requests.count ? requests[index] : nil
    }

    private func refused(_ closing: ServerMethod.Closing) -> RabbitError {
        let error = RabbitError.setupReply(
            closing.code,
            closing.text,
            closing: .channelClosed,
            isResuming: isResuming
        )
        guard index < requests.count else { return error }
        return RabbitError(
            error.kind,
            recovery: error.recovery,
            reason: "\(requests[index].purpose): \(error.reason)",
            code: error.code
        )
    }
}

extension ClientMethod {
    /// What it is for, in a sentence about what went wrong with it.
    fileprivate var purpose: String {
        switch self {
        case .exchangeDeclare(let exchange, let passive):
            passive ? "looking for exchange \(exchange.name)" : "declaring exchange \(exchange.name)"
        case .queueDeclare(let queue, let passive):
            passive ? "looking for queue \(queue.name)" : "declaring queue \(queue.name)"
        case .queueBind(let binding), .exchangeBind(let binding):
            "binding \(binding.destination.name) to exchange \(binding.exchange)"
        case .consume(let queue, _, _, _): "consuming from queue \(queue)"
        default: "opening a channel"
        }
    }
}
