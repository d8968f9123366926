/// What a server answered: an ``HTTPDestination``'s receipt, and part of the errors that are about an answer.
///
/// Neither `print` nor `dump` shows headers or the body: they may hold secrets.
public struct HTTPResponse: Sendable, Hashable {
    /// The status code (RFC 9110, section 15).
    public var status: Int

    /// The header fields, in order, as far as the destination's bound allowed.
    public var headers: [HTTPHeader]

    /// The body, as far as the destination's bound and time-outs allowed.
    public var body: [UInt8]

    /// Whether ``body`` is all of it. The status is the outcome all the same.
    public var isBodyComplete: Bool

    /// An answer, for a destination of a test's own.
    public init(status: Int, headers: [HTTPHeader] = [], body: some Sequence<UInt8> = [], isBodyComplete: Bool = true) {
        self.status = status
        self.headers = headers
        self.body = Array(body)
        self.isBodyComplete = isBodyComplete
    }

    /// The first value of a header; case does not matter.
    public func header(_ name: String) -> String? {
        let name = name.lowercased()
        return headers.first { $0.name.lowercased() == name }?.value
    }
}

extension HTTPResponse: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The status and how long the body is.
    public var description: String { "status \(status), \(body.count)\(isBodyComplete ? "" : "+") bytes" }

    /// As ``description``.
    public var debugDescription: String { description }

    /// Only the status: headers and body may be secret.
    public var customMirror: Mirror { Mirror(self, children: ["status": status]) }
}
