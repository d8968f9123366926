/// Writes what Kafka's protocol reads.
struct WireWriter {
    private(set) var bytes: [UInt8] = []
    /// Whether strings and arrays are compact and structures end with tagged fields, as in the flexible versions (KIP-482).
    private let isFlexible: Bool

    init(isFlexible: Bool) {
        self.isFlexible = isFlexible
    }

    mutating func write(_ number: some FixedWidthInteger) {
        bytes += number.bigEndianBytes
    }

    /// How many elements an array has.
    mutating func write(count: Int) {
        if isFlexible { write(variable: count + 1) } else { write(Int32(clamping: count)) }
    }

    /// A string, of at most 32,767 bytes; or null.
    mutating func write(_ string: String?) {
        guard let string else {
            if isFlexible { write(variable: 0) } else { write(Int16(-1)) }
            return
        }
        let utf8 = string.utf8
        if isFlexible { write(variable: utf8.count + 1) } else { write(Int16(clamping: utf8.count)) }
        bytes += utf8
    }

    /// Ends a header or a structure, which has no tagged fields.
    mutating func endStructure() {
        if isFlexible { write(variable: 0) }
    }

    private mutating func write(variable number: Int) {
        var rest = number
        while rest > 0x7f {
            bytes.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}
