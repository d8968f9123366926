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
}
