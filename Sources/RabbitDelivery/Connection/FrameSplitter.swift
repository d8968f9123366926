/// One frame as it was received. The payload is the splitter's, until bytes are read again.
struct ReceivedFrame {
    enum Kind: UInt8 {
        case method = 1
        case header = 2
        case body = 3
        case heartbeat = 8
    }

    let kind: Kind
    let channel: UInt16
    let payload: UnsafeRawBufferPointer
}

/// Finds the frames in what is received (AMQP 0-9-1, 4.2.3). Holds at most one frame and what was read beyond it.
///
/// What it is given may be anything: whatever a frame says about its length, no more is held and nothing beyond is read.
struct FrameSplitter: ~Copyable {
    static let overhead = 8
    private static let readSize = 65_536
    /// The largest that can be agreed on.
    private static let largest = 131_072

    /// The largest frame that was agreed on, its overhead included.
    ///
    /// A header may be larger, by as much as the memory has room for: brokers cannot split one, and send it on as large as it has become
    /// when they added `x-death` or a stamp to a message that had nearly a frame of headers before (RabbitMQ's
    /// `rabbit_binary_generator`). Refused, such a message would come again with each connection.
    var maximum = FrameSplitter.largest

    private let memory: UnsafeMutableRawBufferPointer
    private var start = 0
    private var end = 0

    init() {
        memory = .allocate(byteCount: Self.largest + Self.readSize, alignment: 16)
    }

    deinit {
        memory.deallocate()
    }

    /// How many bytes wait for the rest of their frame.
    var pending: Int { end - start }

    /// Where to read to; never empty after ``next()`` has returned nil.
    mutating func space() -> UnsafeMutableRawBufferPointer {
        if start > 0 {
            if start < end {
                UnsafeMutableRawBufferPointer(rebasing: memory[0..<(end - start)])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[start..<end]))
            }
            end -= start
            start = 0
        }
        return UnsafeMutableRawBufferPointer(rebasing: memory[end...])
    }

    /// So many bytes were read to ``space()``.
    mutating func received(_ count: Int) {
        end = min(end + max(count, 0), memory.count)
    }

    /// The next frame; nil where it is not all there yet.
    ///
    /// - Throws: ``RabbitError`` of kind `protocolViolation`.
    mutating func next() throws(RabbitError) -> ReceivedFrame? {
        guard end - start >= 7 else {
            if end > start { try checkBeginning() }
            return nil
        }
        let kind = try checkBeginning()
        let channel = UInt16(memory[start + 1]) << 8 | UInt16(memory[start + 2])
        let size = Int(UInt32(bigEndian: memory.loadUnaligned(fromByteOffset: start + 3, as: UInt32.self)))
        guard size <= (kind == .header ? memory.count : maximum) - Self.overhead else {
            throw .protocolViolation("a frame says it has \(size) bytes, and \(maximum) were agreed on")
        }
        guard end - start >= size + Self.overhead else { return nil }
        guard memory[start + 7 + size] == 0xCE else {
            throw .protocolViolation("a frame does not end where it says")
        }
        let payload = UnsafeRawBufferPointer(rebasing: memory[(start + 7)..<(start + 7 + size)])
        start += size + Self.overhead
        return ReceivedFrame(kind: kind, channel: channel, payload: payload)
    }

    @discardableResult
    private func checkBeginning() throws(RabbitError) -> ReceivedFrame.Kind {
        if let kind = ReceivedFrame.Kind(rawValue: memory[start]) { return kind }
        if memory[start] == UInt8(ascii: "A") {
            // What a broker says to a version that it does not speak, before it closes (4.2.2).
            throw .protocolViolation("the broker does not speak AMQP 0-9-1")
        }
        throw .protocolViolation("what answers does not speak AMQP: its frame begins with the byte \(memory[start])")
    }
}
