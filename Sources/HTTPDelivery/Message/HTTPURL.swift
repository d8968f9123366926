/// An absolute `http` or `https` address, checked when it is made.
///
/// Its description is the origin (`https://hooks.example.com/…`): a query, user info, and with many webhooks the path, too, are
/// secrets.
public struct HTTPURL: Sendable, Hashable {
    /// The address as it is requested: without user info and fragment.
    package let text: String
    /// Scheme, host and port.
    package let origin: String
    /// `name:password` of the user info, percent-decoded; sent as basic authorization.
    let credentials: [UInt8]?

    /// An address.
    ///
    /// Only visible ASCII is taken, so that nothing in it can end a request's line: encode other characters, or use an
    /// ``HTTPURLTemplate``, which does. User info (`https://name:password@host`) becomes basic authorization (RFC 7617); a
    /// fragment is not sent.
    ///
    /// - Throws: ``HTTPDeliveryError`` of the kind `invalidMessage`, which does not repeat the address.
    public init(_ address: String) throws(HTTPDeliveryError) {
        guard address.utf8.count <= 16_384 else { throw .invalid("the URL is longer than 16384 bytes") }
        let bytes = Array(address.utf8)
        guard bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F && !"\"<>\\^`{|}".utf8.contains($0) }) else {
            throw .invalid("the URL has characters that have to be percent-encoded")
        }
        guard PercentCoding.isValid(bytes) else {
            throw .invalid("the URL has a % that two hexadecimal digits do not follow")
        }
        let lowercased = address.lowercased()
        guard let scheme = ["http://", "https://"].first(where: lowercased.hasPrefix) else {
            throw .invalid("the URL does not begin with http:// or https://")
        }
        let afterScheme = address.dropFirst(scheme.count)
        let rest = afterScheme.prefix { $0 != "#" }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let target = rest[authority.endIndex...]
        var host = authority
        if let at = authority.lastIndex(of: "@") {
            host = authority[authority.index(after: at)...]
            credentials = PercentCoding.decoded(authority[..<at].utf8)
        } else {
            credentials = nil
        }
        guard Self.isHost(host) else { throw .invalid("the URL's host or port cannot be used") }
        origin = scheme + host.lowercased()
        text = origin + (target.hasPrefix("/") ? "" : "/") + target
    }

    /// A name, an IPv4 address or an IPv6 address in brackets; a port of 1 to 65535.
    private static func isHost(_ text: Substring) -> Bool {
        var name = text
        var port: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return false }
            name = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { return false }
            port = rest.isEmpty ? nil : rest.dropFirst()
            guard name.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else { return false }
        } else {
            if let colon = text.firstIndex(of: ":") {
                name = text[..<colon]
                port = text[text.index(after: colon)...]
            }
            let isName = name.allSatisfy { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "." || $0 == "_" }
            guard isName else { return false }
        }
        guard !name.isEmpty else { return false }
        guard let port else { return true }
        guard port.allSatisfy(\.isNumber), let number = Int(port) else { return false }
        return (1...65_535).contains(number)
    }
}

extension HTTPURL: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The origin.
    public var description: String { origin + "/…" }

    /// As ``description``.
    public var debugDescription: String { description }

    /// No members: they may be secret.
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}
