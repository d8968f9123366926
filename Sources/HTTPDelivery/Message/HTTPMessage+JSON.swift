#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

extension HTTPMessage {
    /// A message whose body is `value` as JSON, with the header `Content-Type: application/json`.
    ///
    /// - Parameters:
    ///   - method: The method.
    ///   - value: What to encode.
    ///   - url: Where it goes.
    ///   - headers: In order; a `Content-Type` among them takes the place of JSON's.
    ///   - key: See ``key``.
    ///   - encoder: How to encode. The default is `JSONEncoder`'s own, which writes dates as seconds since 2001.
    /// - Throws: What the encoder throws.
    public init(
        _ method: Method = .post,
        json value: some Encodable,
        to url: HTTPURL,
        headers: [HTTPHeader] = [],
        key: String? = nil,
        encoder: JSONEncoder = JSONEncoder()
    ) throws {
        var headers = headers
        if !headers.contains(where: { $0.name.lowercased() == "content-type" }) {
            headers.insert(HTTPHeader("Content-Type", "application/json"), at: 0)
        }
        self.init(method, to: url, headers: headers, body: try encoder.encode(value), key: key)
    }
}
