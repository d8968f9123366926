/// Writes JSON by hand, a line for a message: names in the order in which they are written, and no white space.
package struct JSONWriter {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// JSON as it is.
    package mutating func raw(_ text: String) {
        bytes.append(contentsOf: text.utf8)
    }

    /// A string, or null.
    package mutating func text(_ text: String?) {
        if let text { string(text) } else { raw("null") }
    }

    /// A name and bytes: as text where they are UTF-8, and else in base64 under a name that says so (`key_base64`), so that
    /// neither is taken for the other.
    package mutating func field(_ name: String, bytes: [UInt8]?) {
        guard let bytes else { return raw("\"\(name)\":null") }
        if let text = String(validating: bytes, as: UTF8.self) {
            raw("\"\(name)\":")
            string(text)
        } else {
            raw("\"\(name)_base64\":\"\(Base64.text(bytes))\"")
        }
    }

    /// A string, in quotes and with what has to be escaped in them.
    package mutating func string(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(contentsOf: [UInt8(ascii: "\\"), byte])
            case 0x0A: raw("\\n")
            case 0x0D: raw("\\r")
            case 0x09: raw("\\t")
            case 0..<0x20, 0x7F:
                let digits = String(byte, radix: 16)
                raw("\\u00\(digits.count == 1 ? "0" : "")\(digits)")
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
