import ArgumentParser
import KafkaDelivery

/// How `receive` writes a message.
enum MessageFormat: Equatable, Sendable {
    /// The value as it is, and a line feed.
    case value
    /// An object with everything a message has, and a line feed.
    case json
    /// A pattern such as `%t %p %o %s\n`.
    case pattern([Part])

    /// One part of a pattern.
    enum Part: Equatable, Sendable {
        case text([UInt8])
        case topic, partition, offset, timestamp
        case key, keyLength, value, valueLength, headers
    }

    struct Invalid: Error, Equatable {
        let sentence: String
    }

    init(argument: String) throws(Invalid) {
        switch argument {
        case "value": self = .value
        case "json": self = .json
        default:
            guard argument.contains("%") || argument.contains("\\") else {
                throw Invalid(sentence: "value, json or a pattern with % is needed")
            }
            self = .pattern(try Self.parts(of: argument))
        }
    }

    private static func parts(of pattern: String) throws(Invalid) -> [Part] {
        var parts: [Part] = []
        var text = ""
        var characters = pattern.makeIterator()
        while let character = characters.next() {
            if character == "\\" {
                // Both characters, so that `\\%` does not end in an escape that is not there.
                text.append(character)
                if let next = characters.next() { text.append(next) }
                continue
            }
            guard character == "%" else {
                text.append(character)
                continue
            }
            guard let letter = characters.next() else { throw Invalid(sentence: "it ends with a single %") }
            guard letter != "%" else {
                text.append("%")
                continue
            }
            guard let part = Self.part(letter) else { throw Invalid(sentence: "there is no %\(letter)") }
            parts.append(contentsOf: try Self.text(text))
            parts.append(part)
            text = ""
        }
        return parts + (try Self.text(text))
    }

    private static func text(_ text: String) throws(Invalid) -> [Part] {
        guard !text.isEmpty else { return [] }
        do {
            return [.text(try Escapes.bytes(of: text))]
        } catch {
            throw Invalid(sentence: "there is no \(error.escape)")
        }
    }

    private static func part(_ letter: Character) -> Part? {
        switch letter {
        case "t": .topic
        case "p": .partition
        case "o": .offset
        case "T": .timestamp
        case "k": .key
        case "K": .keyLength
        case "s": .value
        case "S": .valueLength
        case "h": .headers
        default: nil
        }
    }
}

extension MessageFormat {
    /// The bytes to write for a message.
    func bytes(of message: KafkaMessage, partition: Int, offset: Int64) -> [UInt8] {
        switch self {
        case .value: return (message.value?.array ?? []) + [0x0A]
        case .json: return JSONEnvelope.bytes(of: message, partition: partition, offset: offset)
        case .pattern(let parts):
            var result: [UInt8] = []
            for part in parts { Self.append(part, of: message, partition, offset, to: &result) }
            return result
        }
    }

    private static func append(
        _ part: Part,
        of message: KafkaMessage,
        _ partition: Int,
        _ offset: Int64,
        to result: inout [UInt8]
    ) {
        switch part {
        case .text(let bytes): result.append(contentsOf: bytes)
        case .topic: result.append(contentsOf: message.topic.utf8)
        case .partition: result.append(contentsOf: "\(partition)".utf8)
        case .offset: result.append(contentsOf: "\(offset)".utf8)
        // -1 where there is none, as in kcat.
        case .timestamp: result.append(contentsOf: "\(message.timestamp?.millisecondsSince1970 ?? -1)".utf8)
        case .key: result.append(contentsOf: message.key?.array ?? [])
        case .keyLength: result.append(contentsOf: "\(message.key?.count ?? -1)".utf8)
        case .value: result.append(contentsOf: message.value?.array ?? [])
        case .valueLength: result.append(contentsOf: "\(message.value?.count ?? -1)".utf8)
        case .headers:
            for (index, header) in message.headers.enumerated() {
                if index > 0 { result.append(UInt8(ascii: ",")) }
                result.append(contentsOf: header.name.utf8)
                result.append(UInt8(ascii: "="))
                result.append(contentsOf: header.value?.array ?? Array("NULL".utf8))
            }
        }
    }
}

/// A message as one line of JSON.
///
/// Bytes that are UTF-8 are text under their own name; others are base64 under a name that says so, so that neither is
/// taken for the other.
enum JSONEnvelope {
    static func bytes(of message: KafkaMessage, partition: Int, offset: Int64) -> [UInt8] {
        var writer = JSONWriter()
        writer.raw("{\"topic\":")
        writer.string(message.topic)
        writer.raw(",\"partition\":\(partition),\"offset\":\(offset),\"timestamp\":")
        if let timestamp = message.timestamp {
            writer.string(ISO8601.text(millisecondsSince1970: timestamp.millisecondsSince1970))
        } else {
            writer.raw("null")
        }
        writer.raw(",")
        writer.field("key", message.key)
        writer.raw(",")
        writer.field("value", message.value)
        writer.raw(",\"headers\":[")
        for (index, header) in message.headers.enumerated() {
            writer.raw(index > 0 ? ",{\"name\":" : "{\"name\":")
            writer.string(header.name)
            writer.raw(",")
            writer.field("value", header.value)
            writer.raw("}")
        }
        writer.raw("]}\n")
        return writer.bytes
    }
}

struct JSONWriter {
    private(set) var bytes: [UInt8] = []

    mutating func raw(_ text: String) {
        bytes.append(contentsOf: text.utf8)
    }

    mutating func text(_ text: String?) {
        if let text { string(text) } else { raw("null") }
    }

    mutating func field(_ name: String, _ value: KafkaBytes?) {
        guard let value else { return raw("\"\(name)\":null") }
        if let text = value.string {
            raw("\"\(name)\":")
            string(text)
        } else {
            raw("\"\(name)_base64\":\"\(Base64.text(value.array))\"")
        }
    }

    mutating func string(_ text: String) {
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

/// RFC 4648's base64, with padding.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func text(_ bytes: [UInt8]) -> String {
        var result: [UInt8] = []
        result.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = (0..<3).reduce(0) { $0 << 8 | ($1 < group.count ? Int(group[start + $1]) : 0) }
            for place in 0..<4 {
                let isPadding = place > group.count
                result.append(isPadding ? UInt8(ascii: "=") : alphabet[bits >> (18 - 6 * place) & 63])
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
