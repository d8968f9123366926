/// A message's properties, encoded, and its body.
struct ReceivedContent: Sendable {
    var properties: [UInt8]
    var body: [UInt8]
    /// Whether there were properties that cannot be read; ``properties`` is empty then.
    var hasUnreadableProperties = false
}

/// Puts together what arrives of a message in frames of its own: a method that has content, a header, and bodies (AMQP
/// 0-9-1, 4.2.6). A value, for one channel.
struct ContentAssembler {
    /// RabbitMQ's own largest `max_message_size`.
    static let maximumBody = 536_870_912

    private enum State {
        case idle
        case header(ServerMethod)
        case body(ServerMethod, ReceivedContent, size: Int)
    }

    private var state = State.idle

    /// Whether a message is on its way.
    var isIdle: Bool {
        if case .idle = state { true } else { false }
    }

    /// A method that content follows: deliver, or return.
    mutating func begin(_ method: ServerMethod) throws(RabbitError) {
        guard isIdle else { throw .protocolViolation("a message began within another") }
        state = .header(method)
    }

    /// A header's frame: class, weight, size of the body, properties.
    ///
    /// - Returns: The message, where it has no body.
    mutating func header(
        _ payload: UnsafeRawBufferPointer,
        pool: borrowing AMQPPool
    ) throws(RabbitError) -> (ServerMethod, ReceivedContent)? {
        guard case .header(let method) = state else {
            throw .protocolViolation("a header came that belongs to no message")
        }
        guard payload.count >= 14 else { throw .protocolViolation("a header has \(payload.count) bytes") }
        let classID = UInt16(payload[0]) << 8 | UInt16(payload[1])
        guard classID == 60 else { throw .protocolViolation("a header is of class \(classID), not 60") }
        let size = UInt64(bigEndian: payload.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
        guard size <= UInt64(Self.maximumBody) else { throw .protocolViolation("a message says it has \(size) bytes") }
        let properties = UnsafeRawBufferPointer(rebasing: payload[12...])
        let isReadable = RabbitProperties.canDecode(properties, pool: pool)
        if !isReadable, case .returned = method {
            // It is one of ours, and nothing would say which.
            throw .protocolViolation("the properties of a message that came back cannot be read")
        }
        // A publisher may nest tables deeper than is read here, and the broker takes it: one such message must not end the connection,
        // for it would come again.
        var content = ReceivedContent(
            properties: isReadable ? Array(properties) : [],
            body: [],
            hasUnreadableProperties: !isReadable
        )
        if size == 0 {
            state = .idle
            return (method, content)
        }
        // What a header says is not yet there: memory follows what arrives.
        content.body.reserveCapacity(min(Int(size), 1 << 20))
        state = .body(method, content, size: Int(size))
        return nil
    }

    /// A body's frame.
    ///
    /// - Returns: The message, where this was the last of it.
    mutating func body(_ payload: UnsafeRawBufferPointer) throws(RabbitError) -> (ServerMethod, ReceivedContent)? {
        guard case .body(let method, var content, let size) = state else {
            throw .protocolViolation("a body came that belongs to no message")
        }
        // Otherwise the state would hold the array too, and each frame copy all of it.
        state = .idle
        guard payload.count <= size - content.body.count else {
            throw .protocolViolation("a message is longer than it says")
        }
        content.body.append(contentsOf: payload)
        if content.body.count == size { return (method, content) }
        state = .body(method, content, size: size)
        return nil
    }
}
