/// `\n`, `\t`, `\r`, `\0`, `\\` and `\xHH` in an argument, which shells make hard to type as they are.
package enum Escapes {
    package struct Invalid: Error, Equatable {
        package let escape: String
    }

    /// The bytes that the argument means.
    package static func bytes(of argument: some StringProtocol) throws(Invalid) -> [UInt8] {
        var result: [UInt8] = []
        var rest = argument.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                result.append(byte)
                continue
            }
            switch rest.popFirst() {
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "t"): result.append(0x09)
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "0"): result.append(0x00)
            case UInt8(ascii: "\\"): result.append(0x5C)
            case UInt8(ascii: "x"):
                let digits = String(decoding: rest.prefix(2), as: UTF8.self)
                guard digits.count == 2, digits.allSatisfy(\.isHexDigit), let byte = UInt8(digits, radix: 16) else {
                    throw Invalid(escape: "\\x" + digits)
                }
                result.append(byte)
                rest = rest.dropFirst(2)
            case let other:
                throw Invalid(escape: "\\" + String(decoding: other.map { [$0] } ?? [], as: UTF8.self))
            }
        }
        return result
    }

    /// An argument that means these bytes, for a terminal: what cannot be seen is escaped.
    package static func argument(for bytes: [UInt8]) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            return bytes.map { $0 < 0x80 ? escaped(Unicode.Scalar($0)) : hexadecimal($0) }.joined()
        }
        return text.unicodeScalars.map(escaped).joined()
    }

    private static func escaped(_ scalar: Unicode.Scalar) -> String {
        switch scalar {
        case "\n": return "\\n"
        case "\t": return "\\t"
        case "\r": return "\\r"
        case "\0": return "\\0"
        case "\\": return "\\\\"
        default:
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator:
                return String(scalar).utf8.map(hexadecimal).joined()
            default: return String(scalar)
            }
        }
    }

    private static func hexadecimal(_ byte: UInt8) -> String {
        "\\x" + String(byte >> 4, radix: 16) + String(byte & 0xF, radix: 16)
    }
}
