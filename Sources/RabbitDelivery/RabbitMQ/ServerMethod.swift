internal import CRabbitMQ

/// What the broker says.
enum ServerMethod: Sendable, Equatable {
    /// Why something was closed.
    struct Closing: Sendable, Equatable {
        var code: Int
        var text: String
        var classID: UInt16 = 0
        var methodID: UInt16 = 0
    }

    struct Deliver: Sendable, Equatable {
        var tag: UInt64
        var isRedelivered: Bool
        var exchange: String
        var routingKey: String
    }

    struct Return: Sendable, Equatable {
        var code: Int
        var text: String
        var exchange: String
        var routingKey: String
    }

    case start(mechanisms: String, properties: RabbitTable)
    case secure
    case tune(channelMaximum: UInt16, frameMaximum: UInt32, heartbeat: UInt16)
    case openOk
    case connectionClose(Closing)
    case connectionCloseOk
    case blocked(reason: String)
    case unblocked
    case channelOpenOk
    case channelFlow(isActive: Bool)
    case channelClose(Closing)
    case channelCloseOk
    case queueDeclareOk(queue: String, messages: Int, consumers: Int)
    case consumeOk(tag: String)
    /// The broker ends a consumer.
    case cancel(tag: String)
    case cancelOk
    case returned(Return)
    case deliver(Deliver)
    case ack(tag: UInt64, multiple: Bool)
    case nack(tag: UInt64, multiple: Bool)
    /// The answer to a request that says nothing else: `exchange.declare-ok`, `queue.bind-ok` and the like.
    case done(MethodID)

    /// Decodes the payload of a method frame.
    ///
    /// - Parameter recent: The names of the last delivery, which those of this one are taken from where they are the same.
    /// - Throws: ``RabbitError`` of kind `protocolViolation`.
    init(
        _ payload: UnsafeRawBufferPointer,
        pool: borrowing AMQPPool,
        recent: RecentNames = RecentNames()
    ) throws(RabbitError) {
        guard payload.count >= 4 else { throw .protocolViolation("a method's frame has \(payload.count) bytes") }
        let number = UInt32(bigEndian: payload.loadUnaligned(fromByteOffset: 0, as: UInt32.self))
        guard let id = MethodID(rawValue: number) else {
            throw .protocolViolation(
                "the broker sent method \(number >> 16), \(number & 0xFFFF), which is none of AMQP 0-9-1"
            )
        }
        // Before they are decoded: several have tables, which librabbitmq reads as deep as they are.
        guard !id.isClientsOnly else {
            throw .protocolViolation("the broker sent \(id), which only a client sends")
        }
        let arguments = UnsafeRawBufferPointer(rebasing: payload[4...])
        if id == .connectionStart, !TableDepth(arguments).accepts(tableAt: 2) {
            throw .protocolViolation("connection.start has no table of properties that can be read")
        }
        let encoded = amqp_bytes_t(
            len: arguments.count,
            bytes: UnsafeMutableRawPointer(mutating: arguments.baseAddress)
        )
        var decoded: UnsafeMutableRawPointer?
        guard amqp_decode_method(number, pool.raw, encoded, &decoded) == 0, let decoded else {
            throw .protocolViolation("the arguments of method \(id) cannot be read")
        }
        self = try Self.method(id, decoded, recent)
    }

    private static func method(
        _ id: MethodID,
        _ decoded: UnsafeMutableRawPointer,
        _ recent: RecentNames
    ) throws(RabbitError) -> ServerMethod {
        switch id {
        case .basicDeliver:
            let method = decoded.load(as: amqp_basic_deliver_t.self)
            return .deliver(
                Deliver(
                    tag: method.delivery_tag,
                    isRedelivered: method.redelivered != 0,
                    exchange: recent.exchange.text(method.exchange.buffer),
                    routingKey: recent.routingKey.text(method.routing_key.buffer)
                )
            )
        case .basicAck:
            let method = decoded.load(as: amqp_basic_ack_t.self)
            return .ack(tag: method.delivery_tag, multiple: method.multiple != 0)
        case .basicNack:
            let method = decoded.load(as: amqp_basic_nack_t.self)
            return .nack(tag: method.delivery_tag, multiple: method.multiple != 0)
        case .basicReturn:
            let method = decoded.load(as: amqp_basic_return_t.self)
            return .returned(
                Return(
                    code: Int(method.reply_code),
                    text: method.reply_text.text,
                    exchange: method.exchange.text,
                    routingKey: method.routing_key.text
                )
            )
        case .basicCancel: return .cancel(tag: decoded.load(as: amqp_basic_cancel_t.self).consumer_tag.text)
        case .basicConsumeOk: return .consumeOk(tag: decoded.load(as: amqp_basic_consume_ok_t.self).consumer_tag.text)
        case .basicCancelOk: return .cancelOk
        case .queueDeclareOk:
            let method = decoded.load(as: amqp_queue_declare_ok_t.self)
            return .queueDeclareOk(
                queue: method.queue.text,
                messages: Int(method.message_count),
                consumers: Int(method.consumer_count)
            )
        case .exchangeDeclareOk, .exchangeBindOk, .queueBindOk, .basicQosOk, .confirmSelectOk: return .done(id)
        default: return try connectionMethod(id, decoded)
        }
    }

    private static func connectionMethod(
        _ id: MethodID,
        _ decoded: UnsafeMutableRawPointer
    ) throws(RabbitError) -> ServerMethod {
        switch id {
        case .connectionStart:
            let method = decoded.load(as: amqp_connection_start_t.self)
            guard method.version_major == 0, method.version_minor == 9 else {
                throw .protocolViolation(
                    "the broker speaks AMQP \(method.version_major)-\(method.version_minor), not 0-9"
                )
            }
            return .start(mechanisms: method.mechanisms.text, properties: RabbitTable(method.server_properties))
        case .connectionSecure: return .secure
        case .connectionTune:
            let method = decoded.load(as: amqp_connection_tune_t.self)
            return .tune(
                channelMaximum: method.channel_max,
                frameMaximum: method.frame_max,
                heartbeat: method.heartbeat
            )
        case .connectionOpenOk: return .openOk
        case .connectionClose:
            let method = decoded.load(as: amqp_connection_close_t.self)
            return .connectionClose(
                Closing(
                    code: Int(method.reply_code),
                    text: method.reply_text.text,
                    classID: method.class_id,
                    methodID: method.method_id
                )
            )
        case .connectionCloseOk: return .connectionCloseOk
        case .connectionBlocked:
            return .blocked(reason: decoded.load(as: amqp_connection_blocked_t.self).reason.text)
        case .connectionUnblocked: return .unblocked
        case .channelOpenOk: return .channelOpenOk
        case .channelFlow: return .channelFlow(isActive: decoded.load(as: amqp_channel_flow_t.self).active != 0)
        case .channelClose:
            let method = decoded.load(as: amqp_channel_close_t.self)
            return .channelClose(
                Closing(
                    code: Int(method.reply_code),
                    text: method.reply_text.text,
                    classID: method.class_id,
                    methodID: method.method_id
                )
            )
        case .channelCloseOk: return .channelCloseOk
        default: throw .protocolViolation("the broker sent \(id), which only a client sends")
        }
    }
}
