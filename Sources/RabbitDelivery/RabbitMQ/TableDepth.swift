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
        guard let (start, end) = block(at: offset, limit: bytes.count) else { return false }
        var levels = [Level(end: end, isTable: true)]
        var position = start
        while let level = levels.last {
            if position == level.end {
                levels.removeLast()
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
                guard levels.count < maximum, let (start, end) = block(at: position, limit: level.end) else {
                    return false
                }
                levels.append(Level(end: end, isTable: letter == UInt8(ascii: "F")))
                position = start
            case UInt8(ascii: "S"), UInt8(ascii: "x"):
                guard let (_, end) = block(at: position, limit: level.end) else { return false }
                position = end
            default:
                guard let width = Self.width(letter) else { return false }
                position += width
            }
            guard position <= levels.last?.end ?? 0 else { return false }
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
