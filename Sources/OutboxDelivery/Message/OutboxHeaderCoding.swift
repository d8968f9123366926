internal import DeliveryCore

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// Headers and attributes as the JSON of the column `headers`, so that a person, a trigger or a service in another language can
/// read and write them.
///
/// What we write is a list, for the order and for names that repeat: `[["name", "text"], ["other", null]]`. A value that is not
/// text is `{"base64": "…"}`, and so is a name or a value with a NUL character, which PostgreSQL's jsonb cannot hold.
/// Attributes are an object in that list. What is read besides is an object, which is the easy form for those who write
/// SQL by hand: `{"name": "text"}`; jsonb does not keep its order.
public enum OutboxHeaderCoding {
    /// The JSON of headers and attributes; `[]` where there is neither.
    public static func encode(_ headers: [OutboxHeader], attributes: [String: String] = [:]) -> String {
        if headers.isEmpty, attributes.isEmpty { return "[]" }
        var json = "["
        if !attributes.isEmpty {
            let pairs = attributes.sorted { $0.key < $1.key }
                .map { quoted(clean($0.key)) + ":" + quoted(clean($0.value)) }
            json += "{" + pairs.joined(separator: ",") + "}"
        }
        for header in headers {
            if json.utf8.count > 1 { json += "," }
            json += "[" + encoded(text: header.name, Array(header.name.utf8)) + ","
            json += header.value.map { encoded(text: String(validating: $0, as: UTF8.self), $0) } ?? "null"
            json += "]"
        }
        return json + "]"
    }

    /// Headers and attributes of a column.
    ///
    /// - Throws: ``OutboxError`` of kind `invalidMessage` where the JSON is neither of the two forms.
    public static func decode(_ json: some Collection<UInt8>) throws(OutboxError) -> ([OutboxHeader], [String: String])
    {
        // What most rows have.
        if json.count == 2 { return ([], [:]) }
        do {
            let parsed = try JSONDecoder().decode(Column.self, from: Data(json))
            return (parsed.headers, parsed.attributes)
        } catch {
            throw .invalidMessage("its headers are neither a list of [name, value] nor an object of them")
        }
    }

    private static func encoded(text: String?, _ bytes: [UInt8]) -> String {
        if let text, !bytes.contains(0) { return quoted(text) }
        return #"{"base64":""# + Data(bytes).base64EncodedString() + #""}"#
    }

    /// Attributes are names and settings; a NUL in one means nothing to any destination.
    private static func clean(_ text: String) -> String {
        text.utf8.contains(0) ? String(decoding: text.utf8.filter { $0 != 0 }, as: UTF8.self) : text
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\u{0}"..."\u{1F}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    private struct Column: Decodable {
        var headers: [OutboxHeader] = []
        var attributes: [String: String] = [:]

        init(from decoder: any Decoder) throws {
            if let container = try? decoder.singleValueContainer(),
                let object = try? container.decode([String: Text].self)
            {
                headers = object.sorted { $0.key < $1.key }.map { OutboxHeader($0.key, $0.value.bytes) }
                return
            }
            var list = try decoder.unkeyedContainer()
            while !list.isAtEnd {
                if var pair = try? list.nestedUnkeyedContainer() {
                    let name = try pair.decode(Text.self)
                    let value = try pair.decode(Text.self)
                    headers.append(OutboxHeader(String(decoding: name.bytes ?? [], as: UTF8.self), value.bytes))
                } else {
                    attributes.merge(try list.decode([String: String].self)) { $1 }
                }
            }
        }
    }

    /// Text, or `{"base64": "…"}`, or null.
    private struct Text: Decodable {
        var bytes: [UInt8]?

        private enum Key: String, CodingKey { case base64 }

        init(from decoder: any Decoder) throws {
            if let container = try? decoder.singleValueContainer() {
                if container.decodeNil() { return }
                if let text = try? container.decode(String.self) {
                    bytes = Array(text.utf8)
                    return
                }
                // A number or a truth value, written by hand: its JSON is its text.
                if let number = try? container.decode(Int64.self) {
                    bytes = Array(String(number).utf8)
                    return
                }
                if let number = try? container.decode(Double.self) {
                    bytes = Array(String(number).utf8)
                    return
                }
                if let truth = try? container.decode(Bool.self) {
                    bytes = Array(String(truth).utf8)
                    return
                }
            }
            let container = try decoder.container(keyedBy: Key.self)
            let text = try container.decode(String.self, forKey: .base64)
            guard let data = Data(base64Encoded: text) else {
                throw DecodingError.dataCorruptedError(forKey: .base64, in: container, debugDescription: "not base64")
            }
            bytes = Array(data)
        }
    }
}
