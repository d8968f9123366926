/// A header field of a request or a response (RFC 9110, section 5).
public struct HTTPHeader: Sendable, Hashable {
    /// The field's name; case does not matter.
    public var name: String

    /// The field's value.
    public var value: String

    /// A header field. One whose name is no token, whose value has a control character (a line's end, NUL), or which frames the
    /// request (`Content-Length`, `Transfer-Encoding`, `Host`, `Connection` …) is refused when it is sent.
    public init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

extension HTTPHeader: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The name; values may be secret.
    public var description: String { "\(name): …" }

    /// As ``description``.
    public var debugDescription: String { description }

    /// No members: the value may be secret.
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension HTTPHeader {
    /// What a server takes for the end of a request, or the beginning of another, is decided by these; they are the client's.
    private static let framing: Set<String> = [
        "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    ]

    /// What is wrong with it, for a person; nil where it can be sent. Never names the value.
    var fault: String? {
        guard Self.isToken(name) else { return "a header's name is no token" }
        if Self.framing.contains(name.lowercased()) { return "the header \(name) is the client's own" }
        return Self.isValue(value) ? nil : "the header \(name) has a control character in its value"
    }

    /// RFC 9110, section 5.6.2.
    static func isToken(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
    }

    /// RFC 9110, section 5.5: visible characters, blanks, tabs, and bytes above ASCII.
    static func isValue(_ text: String) -> Bool {
        text.utf8.allSatisfy { $0 == 0x09 || ($0 >= 0x20 && $0 != 0x7F) }
    }
}
