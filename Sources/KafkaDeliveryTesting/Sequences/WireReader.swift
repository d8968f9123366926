/// Reads what Kafka's protocol wrote, in its versions without compact fields. Nil where the bytes end before.
struct WireReader {
    private let bytes: ArraySlice<UInt8>
    /// Where the next field is, counted from the beginning.
    private(set) var offset = 0

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
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
        guard let count = number(Int16.self) else { return nil }
        guard count > 0 else { return "" }
        let start = bytes.startIndex + offset
        guard skip(Int(count)) else { return nil }
        // Mended text may be longer than what a length can say.
        return String(validating: bytes[start..<start + Int(count)], as: UTF8.self)
    }

    /// How many elements an array has; nil where that cannot be.
    mutating func count() -> Int? {
        guard let count = number(Int32.self), count >= -1, Int(count) <= bytes.count else { return nil }
        return max(Int(count), 0)
    }
}
