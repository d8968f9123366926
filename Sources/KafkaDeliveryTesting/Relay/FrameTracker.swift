/// Where the requests or responses of Kafka's protocol begin in a stream that goes by.
///
/// Each begins with its length in four bytes. Nothing is kept but the few bytes of a beginning that arrives in pieces.
struct FrameTracker {
    /// The beginning of a request or response.
    struct Frame {
        /// Where it begins in the bytes that were looked at; 0 where it began before them.
        let position: Int
        /// Its first bytes, as many as were asked for.
        let head: [UInt8]
    }

    /// What is longer than any request that a broker would take (`socket.request.max.bytes` is 100 MiB by default).
    private static let maximumBytes = 1 << 28

    private let headBytes: Int
    private var head: [UInt8] = []
    /// How much of the current frame, after its head, is still to come.
    private var left = 0
    /// Whether the stream is something else, for instance encrypted.
    private(set) var isOpaque = false

    /// - Parameter headBytes: How many of a frame's bytes are wanted, its length included: at least 4.
    init(headBytes: Int) {
        self.headBytes = headBytes
    }

    /// Looks at the bytes that come next in the stream.
    mutating func observe(_ bytes: UnsafeRawBufferPointer) -> [Frame] {
        var frames: [Frame] = []
        var index = 0
        while index < bytes.count, !isOpaque {
            if left > 0 {
                let count = min(left, bytes.count - index)
                left -= count
                index += count
                continue
            }
            let position = max(index - head.count, 0)
            let count = min(headBytes - head.count, bytes.count - index)
            head += bytes[index..<index + count]
            index += count
            guard head.count == headBytes else { break }
            let length = Int(head.bigEndian(Int32.self, at: 0) ?? -1)
            guard (headBytes - 4...Self.maximumBytes).contains(length) else {
                isOpaque = true
                break
            }
            left = length + 4 - headBytes
            frames.append(Frame(position: position, head: head))
            head = []
        }
        return frames
    }
}

extension RandomAccessCollection<UInt8> where Index == Int {
    /// A number as Kafka's protocol writes it; nil where the bytes do not reach so far.
    func bigEndian<Number: FixedWidthInteger>(_ type: Number.Type, at offset: Int) -> Number? {
        let size = Number.bitWidth / 8
        guard offset >= 0, count - size >= offset else { return nil }
        let start = startIndex + offset
        return self[start..<start + size].reduce(0) { $0 << 8 | Number(truncatingIfNeeded: $1) }
    }
}

extension FixedWidthInteger {
    /// As Kafka's protocol writes it.
    var bigEndianBytes: [UInt8] {
        withUnsafeBytes(of: bigEndian) { Array($0) }
    }
}
