/// Looks how deep tables are in each other before librabbitmq decodes them: it calls itself for each level, and a frame of
/// 128 KiB has room for 26,000 (`amqp_decode_table`, all versions up to 0.16), which is more than a thread's stack has.
struct TableDepth {
    private let bytes: UnsafeRawBufferPointer

    /// A table or an array that is being read: where it ends, and what it is.
    private struct Level {
        let end: Int
        let isTable: Bool
    }

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// Whether the table that begins at `offset` is whole and no deeper than allowed.
    func accepts(tableAt offset: Int, maximum: Int = RabbitFieldValue.maximumDepth) -> Bool {
        // On the stack: nearly every message has headers.
        withUnsafeTemporaryAllocation(of: Level.self, capacity: max(maximum, 1)) { levels in
            accepts(tableAt: offset, levels)
        }
    }

    private func accepts(tableAt offset: Int, _ levels: UnsafeMutableBufferPointer<Level>) -> Bool {
        guard let (start, end) = block(at: offset, limit: bytes.count) else { return false }
        levels.initializeElement(at: 0, to: Level(end: end, isTable: true))
        var depth = 1
        var position = start
        while depth > 0 {
            let level = levels[depth - 1]
            if position == level.end {
                depth -= 1
                continue
            }
            if level.isTable {
                // A name: a length of one byte, and so many.
                position += 1 + Int(bytes[position])
            }
            guard position < level.end else { return false }
            let letter = bytes[position]
            position += 1
            switch letter {
            case UInt8(ascii: "F"), UInt8(ascii: "A"):
                guard depth < levels.count, let (start, end) = block(at: position, limit: level.end) else {
                    return false
                }
                levels.initializeElement(at: depth, to: Level(end: end, isTable: letter == UInt8(ascii: "F")))
                depth += 1
                position = start
            case UInt8(ascii: "S"), UInt8(ascii: "x"):
                guard let (_, end) = block(at: position, limit: level.end) else { return false }
                position = end
            default:
                guard let width = Self.width(letter) else { return false }
                position += width
            }
            guard position <= levels[depth - 1].end else { return false }
        }
        return true
    }

    /// What has a length of four bytes before it: where it begins and ends.
    private func block(at offset: Int, limit: Int) -> (start: Int, end: Int)? {
        guard offset >= 0, offset + 4 <= limit else { return nil }
        let count = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
        let start = offset + 4
        return count <= limit - start ? (start, start + count) : nil
    }

    private static func width(_ letter: UInt8) -> Int? {
        switch letter {
        case UInt8(ascii: "t"), UInt8(ascii: "b"), UInt8(ascii: "B"): 1
        case UInt8(ascii: "s"), UInt8(ascii: "u"): 2
        case UInt8(ascii: "I"), UInt8(ascii: "i"), UInt8(ascii: "f"): 4
        case UInt8(ascii: "D"): 5
        case UInt8(ascii: "l"), UInt8(ascii: "L"), UInt8(ascii: "d"), UInt8(ascii: "T"): 8
        case UInt8(ascii: "V"): 0
        default: nil
        }
    }

    /// Where the headers begin in encoded properties of the basic class; nil where there are none.
    static func headersOffset(in bytes: UnsafeRawBufferPointer) -> Int? {
        guard bytes.count >= 2 else { return nil }
        let flags = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
        guard flags & 1 << 13 != 0 else { return nil }
        var offset = 2
        // Content type and content encoding come before them, short strings both.
        for flag in [UInt16(1) << 15, 1 << 14] where flags & flag != 0 {
            guard offset < bytes.count else { return nil }
            offset += 1 + Int(bytes[offset])
        }
        return offset
    }
}
