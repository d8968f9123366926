extension RabbitBroker {
    /// A broker from an AMQP URI, as RabbitMQ specifies them ("RabbitMQ URI Specification", "URI Query Parameters"):
    /// `amqp://user:password@host:port/virtual%2Fhost?heartbeat=20`, or `amqps://…`.
    ///
    /// Without a host it is `localhost`, without a user `guest`. Without a path the virtual host is `/`, and with an empty one,
    /// as in `amqp://host/`, the one whose name is empty. Several hosts may stand there, with commas between them.
    ///
    /// The parameters are `heartbeat` (seconds), `connection_timeout` (milliseconds), `auth_mechanism` (`plain`, `amqplain`,
    /// `external`), `name`, and with `amqps` also `cacertfile`, `certfile`, `keyfile`, `password` (the key's), `verify`
    /// (`verify_peer`, `verify_none`) and `server_name_indication` (a name, or `disable` for any host).
    /// `channel_max` and `fail_if_no_peer_cert` are taken and change nothing.
    ///
    /// - Throws: ``RabbitError`` of kind `invalidConfiguration`, which names the part that cannot be read, and never the password.
    public init(uri: String) throws(RabbitError) {
        let parts = try URIParts(uri)
        self.init(hosts: parts.hosts)
        if let virtualHost = parts.virtualHost { self.virtualHost = virtualHost }
        if parts.isEncrypted { tls = RabbitTLS() }
        var mechanism = "plain"
        for (name, value) in parts.parameters {
            if name == "auth_mechanism" {
                mechanism = value.lowercased()
            } else {
                try take(name, value)
            }
        }
        credentials = try Self.credentials(mechanism, parts)
        try validate()
    }

    private static func credentials(_ mechanism: String, _ parts: URIParts) throws(RabbitError) -> RabbitCredentials {
        let userName = parts.userName ?? "guest"
        // A user without a password has an empty one; a URI without a user means guest.
        let password = parts.password ?? (parts.userName == nil ? "guest" : "")
        return switch mechanism {
        case "plain": .plain(userName: userName, password: password)
        case "amqplain": .amqplain(userName: userName, password: password)
        case "external": .external
        default: throw .invalidConfiguration("auth_mechanism is none of plain, amqplain and external")
        }
    }

    private mutating func take(_ name: String, _ value: String) throws(RabbitError) {
        switch name {
        case "heartbeat":
            guard let seconds = UInt16(value) else {
                throw .invalidConfiguration("heartbeat is no number of seconds from 0 to 65535")
            }
            heartbeat = .seconds(Int64(seconds))
        case "connection_timeout":
            guard let milliseconds = UInt32(value), milliseconds > 0 else {
                throw .invalidConfiguration("connection_timeout is no number of milliseconds, more than zero")
            }
            connectionTimeout = .milliseconds(Int64(milliseconds))
        case "name": connectionName = value
        case "channel_max", "fail_if_no_peer_cert": break
        case "cacertfile", "certfile", "keyfile", "password", "verify", "server_name_indication":
            guard tls != nil else { throw .invalidConfiguration("\(name) needs amqps://") }
            try takeEncryption(name, value)
        default: throw .invalidConfiguration("there is no parameter \(name) in an AMQP URI")
        }
    }

    private mutating func takeEncryption(_ name: String, _ value: String) throws(RabbitError) {
        switch name {
        case "cacertfile": tls?.certificateAuthority = value
        case "certfile": tls?.clientCertificate = value
        case "keyfile": tls?.clientKey = value
        case "password": tls?.clientKeyPassword = value
        case "verify":
            guard value == "verify_peer" || value == "verify_none" else {
                throw .invalidConfiguration("verify is neither verify_peer nor verify_none")
            }
            tls?.verifiesPeer = value == "verify_peer"
            if value == "verify_none" { tls?.verifiesHost = false }
        default:
            if value == "disable" { tls?.verifiesHost = false } else { tls?.serverName = value }
        }
    }
}

/// An AMQP URI, taken apart (RFC 3986, with RabbitMQ's meaning of the path).
struct URIParts {
    var isEncrypted = false
    var userName: String?
    var password: String?
    var hosts: [String] = []
    /// Nil where there is no path; empty where it is `/`.
    var virtualHost: String?
    var parameters: [(String, String)] = []

    init(_ uri: String) throws(RabbitError) {
        guard let colon = uri.firstIndex(of: ":"), uri[colon...].hasPrefix("://") else {
            throw .invalidConfiguration("an AMQP URI begins with amqp:// or amqps://")
        }
        switch uri[..<colon].lowercased() {
        case "amqp": isEncrypted = false
        case "amqps": isEncrypted = true
        default: throw .invalidConfiguration("an AMQP URI begins with amqp:// or amqps://")
        }
        var rest = uri[uri.index(colon, offsetBy: 3)...]
        guard !rest.contains("#") else { throw .invalidConfiguration("an AMQP URI has no fragment; write # as %23") }
        // A password with a slash or a question mark would be read as a host, a port or a virtual host, and be shown as such.
        if let end = rest.firstIndex(where: { $0 == "/" || $0 == "?" }), rest[end...].contains("@") {
            throw .invalidConfiguration(
                "in an AMQP URI write / as %2F and ? as %3F before the @, and @ as %40 behind the host"
            )
        }
        if let mark = rest.firstIndex(of: "?") {
            try readParameters(rest[rest.index(after: mark)...])
            rest = rest[..<mark]
        }
        if let slash = rest.firstIndex(of: "/") {
            let path = rest[rest.index(after: slash)...]
            guard !path.contains("/") else {
                throw .invalidConfiguration("the virtual host in the URI has a slash; write it as %2F")
            }
            virtualHost = try Self.decode(path, "virtual host")
            rest = rest[..<slash]
        }
        if let at = rest.lastIndex(of: "@") {
            try readUser(rest[..<at])
            rest = rest[rest.index(after: at)...]
        }
        for host in rest.split(separator: ",", omittingEmptySubsequences: false) {
            // ":5673" has a port and no host.
            let decoded = host.hasPrefix("[") ? String(host) : try Self.decode(host, "host")
            hosts.append(decoded.isEmpty || decoded.hasPrefix(":") ? "localhost" + decoded : decoded)
        }
    }

    private mutating func readUser(_ text: Substring) throws(RabbitError) {
        guard let colon = text.firstIndex(of: ":") else {
            userName = try Self.decode(text, "user")
            return
        }
        userName = try Self.decode(text[..<colon], "user")
        password = try Self.decode(text[text.index(after: colon)...], "password")
    }

    private mutating func readParameters(_ text: Substring) throws(RabbitError) {
        for part in text.split(separator: "&") {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2 else { throw .invalidConfiguration("a parameter of the URI has no value") }
            parameters.append((try Self.decode(pair[0], "parameter"), try Self.decode(pair[1], "parameter")))
        }
    }

    /// - Parameter part: What to call it in an error, which must not repeat it: it may be a password.
    private static func decode(_ text: Substring, _ part: String) throws(RabbitError) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8.makeIterator()
        while let byte = rest.next() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.next().flatMap(Self.digit), let low = rest.next().flatMap(Self.digit) else {
                throw .invalidConfiguration("the \(part) in the URI has a % without two hexadecimal digits")
            }
            bytes.append(high << 4 | low)
        }
        guard let decoded = String(validating: bytes, as: UTF8.self) else {
            throw .invalidConfiguration("the \(part) in the URI is not UTF-8")
        }
        return decoded
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        Character(UnicodeScalar(byte)).hexDigitValue.map { UInt8($0) }
    }
}
