internal import CRabbitMQ

/// What a client says.
enum ClientMethod: Sendable, Equatable {
    case startOk(properties: RabbitTable, mechanism: String, response: [UInt8])
    case tuneOk(channelMaximum: UInt16, frameMaximum: UInt32, heartbeat: UInt16)
    case open(virtualHost: String)
    case connectionClose(code: Int, text: String)
    case connectionCloseOk
    case channelOpen
    case channelFlowOk(isActive: Bool)
    case channelClose
    case channelCloseOk
    case exchangeDeclare(RabbitTopology.Exchange, passive: Bool)
    case exchangeBind(RabbitTopology.Binding)
    case queueDeclare(RabbitTopology.Queue, passive: Bool)
    case queueBind(RabbitTopology.Binding)
    case qos(prefetch: UInt16)
    case consume(queue: String, tag: String, isExclusive: Bool, arguments: RabbitTable)
    case cancel(tag: String)
    case publish(exchange: String, routingKey: String, isMandatory: Bool)
    case ack(tag: UInt64, multiple: Bool)
    case nack(tag: UInt64, requeue: Bool)
    case confirmSelect

    /// Encodes it with librabbitmq (`amqp_encode_method`).
    ///
    /// - Returns: How many bytes it took; nil where it does not fit.
    func encode(into target: UnsafeMutableRawBufferPointer, pool: borrowing AMQPPool) -> Int? {
        switch self {
        case .publish(let exchange, let routingKey, let isMandatory):
            write(
                .basicPublish,
                amqp_basic_publish_t(
                    ticket: 0,
                    exchange: pool.bytes(exchange),
                    routing_key: pool.bytes(routingKey),
                    mandatory: isMandatory ? 1 : 0,
                    immediate: 0
                ),
                target
            )
        case .ack(let tag, let multiple):
            write(.basicAck, amqp_basic_ack_t(delivery_tag: tag, multiple: multiple ? 1 : 0), target)
        case .nack(let tag, let requeue):
            write(.basicNack, amqp_basic_nack_t(delivery_tag: tag, multiple: 0, requeue: requeue ? 1 : 0), target)
        case .qos(let prefetch):
            write(.basicQos, amqp_basic_qos_t(prefetch_size: 0, prefetch_count: prefetch, global: 0), target)
        case .consume(let queue, let tag, let isExclusive, let arguments):
            write(
                .basicConsume,
                amqp_basic_consume_t(
                    ticket: 0,
                    queue: pool.bytes(queue),
                    consumer_tag: pool.bytes(tag),
                    no_local: 0,
                    no_ack: 0,
                    exclusive: isExclusive ? 1 : 0,
                    nowait: 0,
                    arguments: pool.table(arguments)
                ),
                target
            )
        case .cancel(let tag):
            write(.basicCancel, amqp_basic_cancel_t(consumer_tag: pool.bytes(tag), nowait: 0), target)
        case .confirmSelect: write(.confirmSelect, amqp_confirm_select_t(nowait: 0), target)
        case .exchangeDeclare, .exchangeBind, .queueDeclare, .queueBind:
            encodeTopology(into: target, pool: pool)
        default: encodeConnection(into: target, pool: pool)
        }
    }

    private func encodeTopology(into target: UnsafeMutableRawBufferPointer, pool: borrowing AMQPPool) -> Int? {
        switch self {
        case .exchangeDeclare(let exchange, let passive):
            write(
                .exchangeDeclare,
                amqp_exchange_declare_t(
                    ticket: 0,
                    exchange: pool.bytes(exchange.name),
                    type: pool.bytes(exchange.kind.name),
                    passive: passive ? 1 : 0,
                    durable: exchange.isDurable ? 1 : 0,
                    auto_delete: exchange.isAutoDeleted ? 1 : 0,
                    internal: exchange.isInternal ? 1 : 0,
                    nowait: 0,
                    arguments: pool.table(exchange.arguments)
                ),
                target
            )
        case .exchangeBind(let binding):
            write(
                .exchangeBind,
                amqp_exchange_bind_t(
                    ticket: 0,
                    destination: pool.bytes(binding.destination.name),
                    source: pool.bytes(binding.exchange),
                    routing_key: pool.bytes(binding.routingKey),
                    nowait: 0,
                    arguments: pool.table(binding.arguments)
                ),
                target
            )
        case .queueDeclare(let queue, let passive):
            write(
                .queueDeclare,
                amqp_queue_declare_t(
                    ticket: 0,
                    queue: pool.bytes(queue.name),
                    passive: passive ? 1 : 0,
                    durable: queue.isDurable ? 1 : 0,
                    exclusive: queue.isExclusive ? 1 : 0,
                    auto_delete: queue.isAutoDeleted ? 1 : 0,
                    nowait: 0,
                    arguments: pool.table(queue.allArguments)
                ),
                target
            )
        case .queueBind(let binding):
            write(
                .queueBind,
                amqp_queue_bind_t(
                    ticket: 0,
                    queue: pool.bytes(binding.destination.name),
                    exchange: pool.bytes(binding.exchange),
                    routing_key: pool.bytes(binding.routingKey),
                    nowait: 0,
                    arguments: pool.table(binding.arguments)
                ),
                target
            )
        default: nil
        }
    }

    private func encodeConnection(into target: UnsafeMutableRawBufferPointer, pool: borrowing AMQPPool) -> Int? {
        switch self {
        case .startOk(let properties, let mechanism, let response):
            write(
                .connectionStartOk,
                amqp_connection_start_ok_t(
                    client_properties: pool.table(properties),
                    mechanism: pool.bytes(mechanism),
                    response: pool.bytes(response),
                    locale: pool.bytes("en_US")
                ),
                target
            )
        case .tuneOk(let channelMaximum, let frameMaximum, let heartbeat):
            write(
                .connectionTuneOk,
                amqp_connection_tune_ok_t(channel_max: channelMaximum, frame_max: frameMaximum, heartbeat: heartbeat),
                target
            )
        case .open(let virtualHost):
            write(
                .connectionOpen,
                amqp_connection_open_t(virtual_host: pool.bytes(virtualHost), capabilities: pool.bytes(""), insist: 0),
                target
            )
        case .connectionClose(let code, let text):
            write(
                .connectionClose,
                amqp_connection_close_t(
                    reply_code: UInt16(clamping: code),
                    reply_text: pool.bytes(text),
                    class_id: 0,
                    method_id: 0
                ),
                target
            )
        case .connectionCloseOk: write(.connectionCloseOk, amqp_connection_close_ok_t(), target)
        case .channelOpen: write(.channelOpen, amqp_channel_open_t(out_of_band: pool.bytes("")), target)
        case .channelFlowOk(let isActive):
            write(.channelFlowOk, amqp_channel_flow_ok_t(active: isActive ? 1 : 0), target)
        case .channelClose:
            write(
                .channelClose,
                amqp_channel_close_t(reply_code: 200, reply_text: pool.bytes("closing"), class_id: 0, method_id: 0),
                target
            )
        case .channelCloseOk: write(.channelCloseOk, amqp_channel_close_ok_t(), target)
        default: nil
        }
    }

    /// The number, and what librabbitmq makes of the arguments.
    private func write<Arguments: BitwiseCopyable>(
        _ id: MethodID,
        _ arguments: Arguments,
        _ target: UnsafeMutableRawBufferPointer
    ) -> Int? {
        guard target.count > 4 else { return nil }
        target.storeBytes(of: id.rawValue.bigEndian, as: UInt32.self)
        let rest = UnsafeMutableRawBufferPointer(rebasing: target[4...])
        var arguments = arguments
        let count = withUnsafeMutablePointer(to: &arguments) { arguments in
            amqp_encode_method(
                id.rawValue,
                UnsafeMutableRawPointer(arguments),
                amqp_bytes_t(len: rest.count, bytes: rest.baseAddress)
            )
        }
        return count < 0 ? nil : 4 + Int(count)
    }
}
