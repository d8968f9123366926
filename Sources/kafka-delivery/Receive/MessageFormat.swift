import ArgumentParser
import KafkaDelivery
import ToolSupport

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
        writer.field("key", bytes: message.key?.array)
        writer.raw(",")
        writer.field("value", bytes: message.value?.array)
        writer.raw(",\"headers\":[")
        for (index, header) in message.headers.enumerated() {
            writer.raw(index > 0 ? ",{\"name\":" : "{\"name\":")
            writer.string(header.name)
            writer.raw(",")
            writer.field("value", bytes: header.value?.array)
            writer.raw("}")
        }
        writer.raw("]}\n")
        return writer.bytes
    }
}
