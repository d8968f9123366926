import KafkaDelivery
import ToolSupport

/// How a line of input becomes a message.
struct MessageTemplate: Sendable {
    /// Where a message's key comes from.
    enum Key: Equatable, Sendable {
        case none
        case fixed(String)
        /// What is before the first of these bytes; the value is what is after them.
        case before(separator: [UInt8])
        /// A field of the value, which is JSON.
        case field(JSONField)
    }

    /// Why a line is no message.
    enum Failure: Error, Hashable {
        case separatorMissing
        case notJSON
        case fieldMissing
        case fieldIsNoScalar
    }

    var topic: String
    var partition: Int?
    var headers = KafkaHeaders()
    var key = Key.none
    /// Whether an empty value is null, which makes a compacted topic forget the key.
    var hasTombstones = false

    /// The message that a line means.
    func message(_ line: [UInt8]) throws(Failure) -> KafkaMessage {
        var message = KafkaMessage(topic: topic, partition: partition, value: nil, headers: headers)
        var value = line
        switch key {
        case .none: break
        case .fixed(let key): message.key = KafkaBytes(key)
        case .before(let separator):
            guard let range = line.firstRange(of: separator) else { throw .separatorMissing }
            message.key = KafkaBytes(line[..<range.lowerBound])
            value = Array(line[range.upperBound...])
        case .field(let field):
            do {
                message.key = KafkaBytes(try field.value(in: line))
            } catch {
                switch error {
                case .notJSON: throw .notJSON
                case .missing: throw .fieldMissing
                case .noScalar: throw .fieldIsNoScalar
                }
            }
        }
        if !(hasTombstones && value.isEmpty) { message.value = KafkaBytes(value) }
        return message
    }
}

extension MessageTemplate.Failure {
    /// What is wrong with the line.
    var sentence: String {
        switch self {
        case .separatorMissing: "the key's separator is not in it"
        case .notJSON: "it is not JSON"
        case .fieldMissing: "it has no such field as --json-key names"
        case .fieldIsNoScalar: "the field that --json-key names is neither text nor a number"
        }
    }
}
