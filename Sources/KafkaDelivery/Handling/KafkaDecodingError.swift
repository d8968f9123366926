/// A message's value is not what the handler was declared to take. Its bytes are unchanged; trying again would not help.
public struct KafkaDecodingError: PermanentFailure, CustomStringConvertible {
    /// What the decoder said; nil where there was no value to decode.
    public let underlying: (any Error)?

    /// What was expected, and what the decoder said.
    public let description: String

    init(_ type: Any.Type, underlying: (any Error)?) {
        self.underlying = underlying
        self.description =
            if let underlying {
                "The value is not a \(type): \(underlying)"
            } else {
                "The message is a tombstone: it has no value, and so no \(type). A handler of \(type)? gets nil for it"
            }
    }
}
