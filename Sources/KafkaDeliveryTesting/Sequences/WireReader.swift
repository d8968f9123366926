/// Reads what Kafka's protocol wrote. Nil where the bytes end before.
struct WireReader {
    private let bytes: ArraySlice<UInt8>
    /// Where the next field is, counted from the beginning.
    private(set) var offset = 0
    /// Whether strings and arrays are compact and structures end with tagged fields, as in the flexible versions (KIP-482).
    private(set) var isFlexible = false

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
    }

    /// What follows is a body of a flexible version.
    mutating func bodyIsFlexible() {
        isFlexible = true
    }

    /// Reads the tagged fields at the end of a flexible version's header, behind which the body is flexible.
    ///
    /// - Returns: False where the bytes end before.
    mutating func endFlexibleHeader() -> Bool {
        isFlexible = true
        return skipTags()
    }

    mutating func number<Number: FixedWidthInteger>(_ type: Number.Type = Number.self) -> Number? {
        guard let number = bytes.bigEndian(type, at: offset) else { return nil }
        offset += Number.bitWidth / 8
        return number
    }

    mutating func skip(_ count: Int) -> Bool {
        guard count >= 0, bytes.count - count >= offset else { return false }
        offset += count
        return true
    }

    /// A string of the type that may be null: nil where the bytes end before, "" for null.
    mutating func string() -> String? {
        guard let count = isFlexible ? compactLength() : number(Int16.self).map(Int.init) else { return nil }
        guard count > 0 else { return "" }
        let start = bytes.startIndex + offset
        guard skip(count) else { return nil }
        // Mended text may be longer than what a length can say.
        return String(validating: bytes[start..<start + count], as: UTF8.self)
    }

    /// How many elements an array has; nil where that cannot be.
    mutating func count() -> Int? {
        length()
    }

    /// Bytes that may be null: where they are.
    mutating func data() -> Range<Int>? {
        guard let count = length() else { return nil }
        let start = offset
        return skip(count) ? start..<offset : nil
    }

    /// The tagged fields at the end of a structure in a flexible version; nothing in others.
    ///
    /// - Returns: False where the bytes end before.
    mutating func skipTags() -> Bool {
        guard isFlexible else { return true }
        guard let count = variable(), count <= bytes.count else { return false }
        for _ in 0..<count {
            guard variable() != nil, let size = variable(), skip(size) else { return false }
        }
        return true
    }

    /// Of an array or of bytes; 0 for null, nil where there cannot be so much.
    private mutating func length() -> Int? {
        guard let count = isFlexible ? compactLength() : number(Int32.self).map(Int.init), count >= -1,
            count <= bytes.count
        else { return nil }
        return max(count, 0)
    }

    /// One more than the length is written, and 0 for null: -1.
    private mutating func compactLength() -> Int? {
        variable().map { $0 - 1 }
    }

    /// Seven bits in each byte, the lowest first; of at most five bytes, as Kafka has it.
    private mutating func variable() -> Int? {
        var result = 0
        for shift in stride(from: 0, to: 35, by: 7) {
            guard let byte = number(UInt8.self) else { return nil }
            result |= Int(byte & 0x7f) << shift
            if byte & 0x80 == 0 { return result }
        }
        return nil
    }
}
