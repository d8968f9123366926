/// Finds one field in a line of JSON: a string as it is, a number as it is written.
///
/// The line is read up to the field and not beyond. JSON decoders would turn `1.10` into `1.1` and 64-bit identifiers
/// into something near; a key has to be exactly what it was.
package struct JSONField: Equatable, Sendable {
    package enum Failure: Error, Equatable {
        case notJSON
        case missing
        /// It is null, an object or a list.
        case noScalar
    }

    /// The names, from the outermost; a name that is a number is also an index into a list.
    package let path: [String]

    /// A path with dots, as in `properties.id`; `\.` is a dot that belongs to a name. Nil where a name is empty.
    package init?(path text: String) {
        var names: [String] = [""]
        var isEscaped = false
        for character in text {
            switch (character, isEscaped) {
            case ("\\", false): isEscaped = true
            case (".", false): names.append("")
            default:
                if isEscaped, character != ".", character != "\\" { names[names.count - 1].append("\\") }
                names[names.count - 1].append(character)
                isEscaped = false
            }
        }
        guard !isEscaped, names.allSatisfy({ !$0.isEmpty }) else { return nil }
        self.path = names
    }

    /// The field's bytes: a string's without quotes and escapes, a number's or a Boolean's as written.
    package func value(in json: [UInt8]) throws(Failure) -> [UInt8] {
        var scanner = JSONScanner(json)
        for name in path {
            switch scanner.peek() {
            case UInt8(ascii: "{"): try scanner.enterObject(at: name)
            case UInt8(ascii: "["): try scanner.enterArray(at: name)
            default:
                try scanner.skipValue()
                throw .missing
            }
        }
        return try scanner.scalar()
    }
}

/// Walks over JSON, at most once and without recursion.
private struct JSONScanner {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// The next byte that is not white space.
    mutating func peek() -> UInt8? {
        while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) { position += 1 }
        return position < bytes.count ? bytes[position] : nil
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard peek() == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    /// Goes to the value of a name in the object that begins here.
    mutating func enterObject(at name: String) throws(JSONField.Failure) {
        guard take("{") else { throw .notJSON }
        if take("}") { throw .missing }
        let wanted = Array(name.utf8)
        while true {
            let found = try string()
            guard take(":") else { throw .notJSON }
            if found == wanted { return }
            try skipValue()
            if take("}") { throw .missing }
            guard take(",") else { throw .notJSON }
        }
    }

    /// Goes to an element of the list that begins here.
    mutating func enterArray(at name: String) throws(JSONField.Failure) {
        guard let index = Int(name), index >= 0 else { throw .missing }
        guard take("[") else { throw .notJSON }
        if take("]") { throw .missing }
        for _ in 0..<index {
            try skipValue()
            if take("]") { throw .missing }
            guard take(",") else { throw .notJSON }
        }
    }

    /// The string, number or Boolean that begins here.
    mutating func scalar() throws(JSONField.Failure) -> [UInt8] {
        switch peek() {
        case UInt8(ascii: "\""): return try string()
        case UInt8(ascii: "{"), UInt8(ascii: "["): throw .noScalar
        case nil: throw .notJSON
        default:
            let literal = try literal()
            if literal.elementsEqual("null".utf8) { throw .noScalar }
            return Array(literal)
        }
    }

    private mutating func literal() throws(JSONField.Failure) -> ArraySlice<UInt8> {
        let start = position
        while position < bytes.count, Self.isLiteral(bytes[position]) { position += 1 }
        let literal = bytes[start..<position]
        let isWord = ["true", "false", "null"].contains { literal.elementsEqual($0.utf8) }
        guard isWord || Self.isNumber(literal) else { throw .notJSON }
        return literal
    }

    private static func isLiteral(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    private static func isNumber(_ literal: ArraySlice<UInt8>) -> Bool {
        guard let first = literal.first, first != UInt8(ascii: "+"), first != UInt8(ascii: ".") else { return false }
        // Swift's own numbers may be hexadecimal or infinite, which takes letters that JSON's do not have.
        let isDecimal = literal.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
        return isDecimal && Double(String(decoding: literal, as: UTF8.self)) != nil
    }

    /// Goes past the value that begins here.
    mutating func skipValue() throws(JSONField.Failure) {
        var depth = 0
        repeat {
            switch peek() {
            case UInt8(ascii: "\""): _ = try string()
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                position += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                guard depth > 0 else { throw .notJSON }
                depth -= 1
                position += 1
            case UInt8(ascii: ","), UInt8(ascii: ":"):
                guard depth > 0 else { throw .notJSON }
                position += 1
            case nil: throw .notJSON
            default: _ = try literal()
            }
        } while depth > 0
    }

    /// The string that begins here, without quotes and escapes.
    private mutating func string() throws(JSONField.Failure) -> [UInt8] {
        guard take("\"") else { throw .notJSON }
        var result: [UInt8] = []
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return result
            case UInt8(ascii: "\\"): try appendEscape(to: &result)
            default: result.append(byte)
            }
        }
        throw .notJSON
    }

    private mutating func appendEscape(to result: inout [UInt8]) throws(JSONField.Failure) {
        guard position < bytes.count else { throw .notJSON }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "n"): result.append(0x0A)
        case UInt8(ascii: "t"): result.append(0x09)
        case UInt8(ascii: "r"): result.append(0x0D)
        case UInt8(ascii: "b"): result.append(0x08)
        case UInt8(ascii: "f"): result.append(0x0C)
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(byte)
        case UInt8(ascii: "u"): result.append(contentsOf: Array(String(try unicodeEscape()).utf8))
        default: throw .notJSON
        }
    }

    /// The character of `\uXXXX`, or of two of them that are a surrogate pair. Half a pair is U+FFFD, as in every
    /// decoder that does not refuse it.
    private mutating func unicodeEscape() throws(JSONField.Failure) -> Character {
        let first = try hexadecimal()
        if let scalar = Unicode.Scalar(first) { return Character(scalar) }
        let start = position
        if (0xD800...0xDBFF).contains(first), bytes[position...].starts(with: [0x5C, 0x75]) {
            position += 2
            let second = try hexadecimal()
            if (0xDC00...0xDFFF).contains(second) {
                let combined = 0x10000 + (UInt32(first) - 0xD800) << 10 + (UInt32(second) - 0xDC00)
                if let scalar = Unicode.Scalar(combined) { return Character(scalar) }
            }
            position = start
        }
        return "\u{FFFD}"
    }

    private mutating func hexadecimal() throws(JSONField.Failure) -> UInt16 {
        guard position + 4 <= bytes.count else { throw .notJSON }
        let digits = String(decoding: bytes[position..<position + 4], as: UTF8.self)
        position += 4
        guard digits.allSatisfy(\.isHexDigit), let number = UInt16(digits, radix: 16) else { throw .notJSON }
        return number
    }
}
