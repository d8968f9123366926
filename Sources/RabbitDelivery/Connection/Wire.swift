/// What a connection's thread sends with: methods and messages, encoded one after the other. Confined to that thread.
final class Wire {
    /// The channel that everything but the connection's own methods goes by. There is one, and its number is used again: what
    /// librabbitmq and the broker keep for a channel does not grow.
    static let channel: UInt16 = 1

    private var output = OutputBuffer()
    private let pool = AMQPPool()
    /// The largest frame that was agreed on.
    var frameMaximum = 4_096
    /// Whether a request could not be encoded: what follows makes no sense without it.
    private(set) var isBroken = false

    /// How many bytes wait to be sent.
    var backlog: Int { output.count }

    /// Lends what waits.
    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result { body(output.bytes) }

    /// So many bytes were sent.
    func sent(_ count: Int) { output.sent(count) }

    /// A new connection.
    func reset() {
        output.removeAll()
        frameMaximum = 4_096
        isBroken = false
    }

    /// The greeting (AMQP 0-9-1, 4.2.2).
    func greet() {
        let greeting: [UInt8] = [0x41, 0x4D, 0x51, 0x50, 0, 0, 9, 1]
        output.reserve(8).copyBytes(from: greeting)
        output.added(8)
    }

    func heartbeat() {
        frame(.heartbeat, channel: 0, room: 0) { _ in 0 }
    }

    /// Encodes a method.
    func send(_ method: ClientMethod, channel: UInt16 = Wire.channel) {
        defer { pool.recycle() }
        if !frame(
            .method,
            channel: channel,
            room: frameMaximum - FrameSplitter.overhead,
            { method.encode(into: $0, pool: pool) }
        ) {
            isBroken = true
        }
    }

    /// Encodes a message: method, header and body, in as many frames as it takes.
    ///
    /// - Returns: False where its properties do not fit into a frame; nothing was encoded then.
    func publish(_ message: RabbitMessage, sequence: UInt64?) -> Bool {
        defer { pool.recycle() }
        let before = output.count
        let method = ClientMethod.publish(
            exchange: message.exchange,
            routingKey: message.routingKey,
            isMandatory: message.isMandatory
        )
        let largest = frameMaximum - FrameSplitter.overhead
        // Without headers the properties are ten short strings at most.
        let properties = message.properties.headers.isEmpty ? min(largest, 4_088) : largest
        let isEncoded =
            frame(.method, channel: Wire.channel, room: 600) { method.encode(into: $0, pool: pool) }
            && frame(.header, channel: Wire.channel, room: properties) { target in
                let body = UInt64(message.body.count)
                target.storeBytes(of: UInt32(60 << 16).bigEndian, as: UInt32.self)
                target.storeBytes(of: body.bigEndian, toByteOffset: 4, as: UInt64.self)
                let rest = UnsafeMutableRawBufferPointer(rebasing: target[12...])
                return message.properties.encode(sequence: sequence, into: rest, pool: pool).map { 12 + $0 }
            }
        guard isEncoded else {
            output.dropLast(output.count - before)
            return false
        }
        message.body.withUnsafeBytes { body in
            var rest = body[...]
            while !rest.isEmpty {
                let part = UnsafeRawBufferPointer(rebasing: rest.prefix(largest))
                frame(.body, channel: Wire.channel, room: part.count) { target in
                    target.copyMemory(from: part)
                    return part.count
                }
                rest = rest.dropFirst(largest)
            }
        }
        return true
    }

    /// Writes a frame around what `payload` writes.
    ///
    /// - Returns: False where that did not fit.
    @discardableResult
    private func frame(
        _ kind: ReceivedFrame.Kind,
        channel: UInt16,
        room: Int,
        _ payload: (UnsafeMutableRawBufferPointer) -> Int?
    ) -> Bool {
        let target = output.reserve(room + FrameSplitter.overhead)
        let inside = UnsafeMutableRawBufferPointer(rebasing: target[7..<(7 + room)])
        guard let count = payload(inside), count <= room else { return false }
        target[0] = kind.rawValue
        target[1] = UInt8(channel >> 8)
        target[2] = UInt8(truncatingIfNeeded: channel)
        target.storeBytes(of: UInt32(count).bigEndian, toByteOffset: 3, as: UInt32.self)
        target[7 + count] = 0xCE
        output.added(count + FrameSplitter.overhead)
        return true
    }

    /// Reads received properties.
    func properties(_ encoded: [UInt8]) -> RabbitProperties {
        defer { pool.recycle() }
        return encoded.withUnsafeBytes { RabbitProperties(decoding: $0, pool: pool) }
    }

    /// The number of a message that came back.
    func sequence(in encoded: [UInt8]) -> UInt64? {
        defer { pool.recycle() }
        return encoded.withUnsafeBytes { RabbitProperties.sequence(in: $0, pool: pool) }
    }
}
