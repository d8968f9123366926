/// What a topic may be called (`org.apache.kafka.common.internals.Topic`). Brokers refuse other names after a while, and librdkafka cuts a name at a zero byte.
enum TopicName {
    /// Why a topic cannot be called that; nil where it can.
    static func fault(of name: String) -> String? {
        guard !name.isEmpty else { return "a topic's name is empty" }
        guard name.utf8.count <= 249 else {
            return "\"\(name)\" has \(name.utf8.count) bytes, and a topic's name at most 249"
        }
        guard name != ".", name != "..", name.utf8.allSatisfy(isLegal) else {
            let shown = name.replacing("\0", with: "␀")
            return "\"\(shown)\" cannot be a topic's name, which has letters, digits, '.', '_' and '-' only"
        }
        return nil
    }

    /// The same for what a consumer subscribes to: with `^` it begins a regular expression, as librdkafka compiles it.
    static func fault(ofSubscription name: String) -> String? {
        guard name.first == "^" else { return fault(of: name) }
        guard !name.utf8.contains(0) else {
            return "\"\(name.replacing("\0", with: "␀"))\" has a zero byte, which no regular expression can have"
        }
        do throws(PosixExpression.Fault) {
            _ = try PosixExpression(name)
            return nil
        } catch {
            return "\"\(name)\" is no regular expression (\(error.reason))"
        }
    }

    private static func isLegal(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}
