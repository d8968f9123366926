/// Cuts a stream into the requests or responses of Kafka's protocol, each with its four bytes of length.
struct FrameSplitter {
    /// `socket.request.max.bytes` of a broker, by default.
    static let maximumBytes = 100 << 20

    private var buffer: [UInt8] = []
    private var start = 0
    /// Whether a length came that no frame has: what follows cannot be read.
    private(set) var isBroken = false

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        if start > 0, start >= buffer.count / 2 {
            buffer.removeFirst(start)
            start = 0
        }
        buffer += bytes
    }

    /// The next whole one; nil where it has not arrived.
    mutating func next() -> [UInt8]? {
        let rest = buffer[start...]
        guard !isBroken, let length = rest.bigEndian(Int32.self, at: 0) else { return nil }
        // A correlation id at least.
        guard (4...Self.maximumBytes).contains(Int(length)) else {
            isBroken = true
            return nil
        }
        let count = Int(length) + 4
        guard rest.count >= count else { return nil }
        defer { start += count }
        return Array(rest.prefix(count))
    }
}
