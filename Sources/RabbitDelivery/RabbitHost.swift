/// Where a broker listens: a name or an address, and a port.
struct RabbitHost: Sendable, Hashable, CustomStringConvertible {
    var name: String
    var port: Int

    static let plainPort = 5672
    static let encryptedPort = 5671

    /// Reads `host`, `host:port`, `[address]` or `[address]:port`.
    init(_ text: String, defaultPort: Int) throws(RabbitError) {
        // What is in it may be a password, of a URI whose host was forgotten for instance, and no error repeats it.
        guard !text.contains(where: { $0 == "@" || $0 == "/" }) else {
            throw .invalidConfiguration("a host is a name and a port; a URI is for RabbitBroker(uri:)")
        }
        let (name, port) = try Self.split(text)
        guard !name.isEmpty else { throw .invalidConfiguration("a host's name is empty") }
        guard !name.utf8.contains(0) else { throw .invalidConfiguration("a host's name has a zero byte") }
        self.name = name
        self.port = port ?? defaultPort
    }

    private static func split(_ text: String) throws(RabbitError) -> (String, Int?) {
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else {
                throw .invalidConfiguration("a host's address is not closed by ]")
            }
            let rest = text[text.index(after: end)...]
            let address = String(text[text.index(after: text.startIndex)..<end])
            if rest.isEmpty { return (address, nil) }
            guard rest.hasPrefix(":") else {
                throw .invalidConfiguration("after the ] of a host's address there is no :port")
            }
            return (address, try port(rest.dropFirst()))
        }
        guard let colon = text.lastIndex(of: ":") else { return (text, nil) }
        let name = text[..<colon]
        guard !name.contains(":") else {
            throw .invalidConfiguration(
                "a host has several colons: write an IPv6 address in brackets, as in [::1]:5672"
            )
        }
        return (String(name), try port(text[text.index(after: colon)...]))
    }

    private static func port(_ text: Substring) throws(RabbitError) -> Int? {
        if text.isEmpty { return nil }
        guard let port = Int(text), (1...65_535).contains(port) else {
            throw .invalidConfiguration("a host's port is none from 1 to 65535")
        }
        return port
    }

    var description: String { name.contains(":") ? "[\(name)]:\(port)" : "\(name):\(port)" }
}
