/// The greeting, the login and the choice of a virtual host (AMQP 0-9-1, 2.2.4). A value without sockets.
struct Handshake {
    /// What to do next.
    enum Action: Equatable {
        case send(ClientMethod)
        /// Frames may be so large from now on, and the other side says something so often.
        case tune(frameMaximum: Int, heartbeat: Int)
        case done
    }

    private enum State {
        case greeting
        case login
        case opening
        case done
    }

    private let broker: RabbitBroker
    private let connectionName: String
    private var state = State.greeting
    /// Whether the broker says so where it refuses a login (`authentication_failure_close`, RabbitMQ 3.2 and newer).
    private var saysRefusals = false

    init(_ broker: RabbitBroker, connectionName: String) {
        self.broker = broker
        self.connectionName = connectionName
    }

    /// The end that came before ``Action/done``. It is a refused login only of a broker that would not say so otherwise: any may be
    /// stopped, or have a load balancer before it that drains, just then.
    var endOfStream: RabbitError {
        if case .login = state, !saysRefusals {
            return RabbitError(
                .authentication,
                recovery: .fixRequest,
                reason: "the broker hung up at the login with \(broker.credentials.mechanism.rawValue)"
            )
        }
        return .connectionLost("the broker hung up before the connection was open")
    }

    mutating func advance(_ method: ServerMethod) throws(RabbitError) -> [Action] {
        switch (state, method) {
        case (.greeting, .start(let mechanisms, let properties)):
            saysRefusals = properties["capabilities"]?.table?["authentication_failure_close"] == .bool(true)
            let mechanism = broker.credentials.mechanism
            guard mechanisms.split(separator: " ").contains(Substring(mechanism.rawValue)) else {
                throw RabbitError(
                    .authentication,
                    recovery: .fixRequest,
                    reason: "the broker offers \(mechanisms), and not \(mechanism.rawValue)"
                )
            }
            state = .login
            return [.send(.startOk(properties: self.properties, mechanism: mechanism.rawValue, response: response))]
        case (.login, .tune(_, let frameMaximum, let heartbeat)):
            state = .opening
            return tune(frameMaximum, heartbeat)
        case (.opening, .openOk):
            state = .done
            return [.done]
        case (.login, .connectionClose(let closing)) where closing.code == 403:
            throw RabbitError(
                .authentication,
                recovery: .fixRequest,
                reason: "the login with \(broker.credentials.mechanism.rawValue) was refused: \(closing.text)",
                code: closing.code
            )
        case (_, .connectionClose(let closing)):
            throw .reply(closing.code, closing.text, closing: .connectionLost)
        case (.login, .secure):
            throw RabbitError(
                .authentication,
                recovery: .fixRequest,
                reason: "the broker asks for more than one answer"
            )
        default: throw .protocolViolation("the broker said \(method) in the greeting")
        }
    }

    private func tune(_ frameMaximum: UInt32, _ heartbeat: UInt16) -> [Action] {
        // Zero is no limit, and no heartbeat; of two the smaller counts.
        var frame = UInt32(clamping: broker.maximumFrameBytes)
        if frameMaximum > 0 { frame = min(frame, max(frameMaximum, 4_096)) }
        let ours = broker.heartbeatSeconds
        let beat = ours == 0 || heartbeat == 0 ? max(ours, heartbeat) : min(ours, heartbeat)
        return [
            .tune(frameMaximum: Int(frame), heartbeat: Int(beat)),
            .send(.tuneOk(channelMaximum: 1, frameMaximum: frame, heartbeat: beat)),
            .send(.open(virtualHost: broker.virtualHost)),
        ]
    }

    private var properties: RabbitTable {
        [
            "product": "RabbitDelivery",
            "platform": "Swift",
            "connection_name": .string(connectionName),
            "capabilities": [
                "publisher_confirms": true,
                "consumer_cancel_notify": true,
                "basic.nack": true,
                "connection.blocked": true,
                "authentication_failure_close": true,
                "exchange_exchange_bindings": true,
            ],
        ]
    }

    private var response: [UInt8] {
        let credentials = broker.credentials
        switch credentials.mechanism {
        case .plain: return [0] + Array(credentials.userName.utf8) + [0] + Array(credentials.password.utf8)
        case .amqplain:
            return Self.entry("LOGIN", credentials.userName) + Self.entry("PASSWORD", credentials.password)
        case .external: return []
        }
    }

    /// An entry of a table without the table's length, which is how AMQPLAIN has it.
    private static func entry(_ name: String, _ text: String) -> [UInt8] {
        let count = UInt32(clamping: text.utf8.count)
        var bytes = [UInt8(clamping: name.utf8.count)] + Array(name.utf8) + [UInt8(ascii: "S")]
        for shift in [24, 16, 8, 0] as [UInt32] { bytes.append(UInt8(truncatingIfNeeded: count >> shift)) }
        return bytes + Array(text.utf8)
    }
}
