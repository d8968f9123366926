/// One HTTP request to send: what a message is to an ``HTTPDestination``.
///
/// ```swift
/// let hook = try HTTPURLTemplate("https://hooks.example.com/tasks/{id}")
/// var message = try HTTPMessage(json: task, to: hook.url(["id": task.id]))
/// message.key = task.id                                   // one request at a time for each task
/// try await destination.send(message)
/// ```
///
/// A message is stamped with a random idempotency key when it is made. Sending the same value again sends the same key, so a
/// server that remembers keys carries the request out once, however often it is sent.
///
/// Neither `print` nor `dump` shows headers, a body or an address's path: they hold secrets.
public struct HTTPMessage: Sendable {
    /// A request method (RFC 9110, section 9).
    public struct Method: RawRepresentable, Sendable, Hashable {
        /// The method's name as it is sent; methods are case-sensitive.
        public var rawValue: String

        /// A method by its name. One that is no token is refused when it is sent.
        public init(rawValue: String) {
            self.rawValue = rawValue
        }

        /// `POST`
        public static let post = Method(rawValue: "POST")
        /// `PUT`
        public static let put = Method(rawValue: "PUT")
        /// `PATCH`
        public static let patch = Method(rawValue: "PATCH")
        /// `DELETE`
        public static let delete = Method(rawValue: "DELETE")
        /// `GET`
        public static let get = Method(rawValue: "GET")
    }

    /// The method; `POST` unless said otherwise.
    public var method: Method

    /// Where it goes.
    public var url: HTTPURL

    /// What is sent besides the destination's own headers; takes the place of those of the same name.
    public var headers: [HTTPHeader]

    /// The body; may be empty.
    public var body: [UInt8]

    /// Requests of one key are sent one at a time, in the order in which they were given to the destination. nil: in no order.
    public var key: String?

    /// What tells a server that it has seen this message before; the header is the destination's `idempotencyKeyHeader`.
    /// Random when the message is made; nil sends none.
    public var idempotencyKey: String?

    /// A message of bytes.
    ///
    /// - Parameters:
    ///   - method: The method.
    ///   - url: Where it goes.
    ///   - headers: In order; names may repeat.
    ///   - body: The body's bytes; none by default.
    ///   - key: See ``key``.
    public init(
        _ method: Method = .post,
        to url: HTTPURL,
        headers: [HTTPHeader] = [],
        body: some Sequence<UInt8> = [],
        key: String? = nil
    ) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = Array(body)
        self.key = key
        idempotencyKey = HTTPMessage.randomKey()
    }

    /// 128 random bits in hexadecimal digits.
    private static func randomKey() -> String {
        let text = String(UInt128.random(in: 0...UInt128.max), radix: 16)
        return String(repeating: "0", count: 32 - text.count) + text
    }
}

extension HTTPMessage: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The method, where it goes and how long the body is.
    public var description: String { "\(method.rawValue) \(url), \(body.count) bytes" }

    /// As ``description``.
    public var debugDescription: String { description }

    /// No members: they may be secret.
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}
