/// An address with places for values, as `https://hooks.example.com/tasks/{id}?kind={kind}` (simple expansion of RFC 6570). A place
/// `{/name*}` in the path takes a value of several segments, `a/b`, and puts a slash before each (path segment expansion).
///
/// Values are data and stay data: everything but letters, digits and `-._~` is percent-encoded, so a value cannot add a segment,
/// a query or a header; in the path, one that is empty or would climb (`..`) is refused. Scheme, host and port are the
/// template's own: no value decides where a request goes.
///
/// Its description is the origin, as an ``HTTPURL``'s is.
public struct HTTPURLTemplate: Sendable {
    private enum Part {
        case text(String)
        case value(String, inPath: Bool)
        case segments(String)
    }

    private let parts: [Part]
    /// Scheme, host and port.
    private let origin: String

    /// The names in the braces, in order.
    public let names: [String]

    /// A template.
    ///
    /// - Throws: ``HTTPDeliveryError`` of the kind `invalidMessage` where a brace is not closed, a name is empty or has other characters
    ///   than letters, digits, `_`, `-` and `.`, where a name stands before the path or in a fragment, or where the rest is no
    ///   ``HTTPURL``.
    public init(_ template: String) throws(HTTPDeliveryError) {
        var parts: [Part] = []
        var names: [String] = []
        var before = ""
        var rest = Substring(template)
        while let open = rest.firstIndex(of: "{") {
            let text = rest[..<open]
            before += text
            if !text.isEmpty { parts.append(.text(String(text))) }
            guard let close = rest[open...].firstIndex(of: "}") else {
                throw .invalid("a { in the URL template has no }")
            }
            var name = String(rest[rest.index(after: open)..<close])
            let isSegments = name.hasPrefix("/") && name.hasSuffix("*")
            if isSegments { name = String(name.dropFirst().dropLast()) }
            guard !name.isEmpty, name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "_-.".contains($0)) })
            else {
                throw .invalid(
                    "a name in the URL template's braces is empty or has other characters than letters, digits, _, - and ."
                )
            }
            guard !before.contains("#"), let scheme = before.range(of: "://") else {
                throw .invalid("a name in the URL template stands in the scheme or the fragment")
            }
            // What stands for it while the text around it is checked.
            if isSegments { before += "/" }
            let afterScheme = before[scheme.upperBound...]
            guard let path = afterScheme.firstIndex(where: { $0 == "/" || $0 == "?" }) else {
                throw .invalid("a name in the URL template stands in the host")
            }
            let inPath = !afterScheme[path...].contains("?")
            guard inPath || !isSegments else { throw .invalid("segments in the URL template stand in the query") }
            parts.append(isSegments ? .segments(name) : .value(name, inPath: inPath))
            names.append(name)
            before += "x"
            rest = rest[rest.index(after: close)...]
        }
        if !rest.isEmpty { parts.append(.text(String(rest))) }
        origin = try HTTPURL(before + rest).origin
        self.parts = parts
        self.names = names
    }

    /// The address with the values in their places.
    ///
    /// - Parameter value: The value of a name; nil where there is none.
    /// - Throws: ``HTTPDeliveryError`` of the kind `invalidMessage` where a value is missing, or cannot stand in a path.
    public func url(_ value: (String) -> String?) throws(HTTPDeliveryError) -> HTTPURL {
        var text = ""
        for part in parts {
            switch part {
            case .text(let literal): text += literal
            case .value(let name, let inPath):
                text += PercentCoding.encoded(try Self.value(name, of: value, inPath: inPath))
            case .segments(let name):
                let value = try Self.value(name, of: value, inPath: true)
                for segment in value.utf8.split(separator: UInt8(ascii: "/")) {
                    text += "/" + PercentCoding.encoded(String(decoding: segment, as: UTF8.self))
                }
            }
        }
        let url = try HTTPURL(text)
        // A dot before or behind the braces can make one, too.
        let path = url.text.dropFirst(url.origin.count).prefix { $0 != "?" }
        guard !path.split(separator: "/").contains(where: { $0 == "." || $0 == ".." }) else {
            throw .invalid("a value leads out of its place in the URL template's path")
        }
        return url
    }

    /// The address with the values in their places; see ``url(_:)-(_)``.
    public func url(_ values: [String: String]) throws(HTTPDeliveryError) -> HTTPURL {
        try url { values[$0] }
    }

    private static func value(
        _ name: String,
        of value: (String) -> String?,
        inPath: Bool
    ) throws(HTTPDeliveryError) -> String {
        guard let value = value(name) else { throw .invalid("the URL template's {\(name)} has no value") }
        guard !inPath || isSafeInPath(value) else {
            throw .invalid("the value of the URL template's {\(name)} is empty or leads out of its place in the path")
        }
        return value
    }

    /// Some servers decode before they look for `..`, and look at bytes: an accent and the slash before it are one character
    /// to Swift only.
    private static func isSafeInPath(_ value: String) -> Bool {
        let segments = value.utf8.split { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") }
        return value.utf8.contains { $0 != UInt8(ascii: "/") }
            && !segments.contains { $0.elementsEqual(".".utf8) || $0.elementsEqual("..".utf8) }
    }
}

extension HTTPURLTemplate: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The origin: a query, user info and a path may be secret.
    public var description: String { origin + "/…" }

    /// As ``description``.
    public var debugDescription: String { description }

    /// No members: they may be secret.
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension String {
    /// Where a text begins first, by bytes: no characters are composed.
    fileprivate func range(of text: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
