/// Where the broker is, and how to log in: what publishers and consumers have in common.
///
/// ```swift
/// RabbitBroker(hosts: ["rabbit-1", "rabbit-2:5673"])
/// try RabbitBroker(uri: "amqps://user:password@rabbit.example/orders?heartbeat=20")
/// ```
///
/// Passwords never appear in its description, in a dump, in errors or in log lines.
public struct RabbitBroker: Sendable, Hashable {
    /// Nodes of one broker, as `host`, `host:port` or `[address]:port`. Each connection begins with one of them at random, and
    /// tries the others in turn. Without a port it is 5672, or 5671 with ``tls``.
    public var hosts: [String]

    /// The virtual host.
    public var virtualHost = "/"

    /// Who the client is.
    public var credentials = RabbitCredentials.guest

    /// How connections are encrypted; nil for not at all.
    public var tls: RabbitTLS?

    /// How long may pass without a sign of life, in whole seconds, 1 to 65,535; the broker may want less. Each side sends one
    /// twice as often, and a connection that says nothing for two of these ends. Zero leaves it to the broker, which wants one a minute
    /// by default; where that wants none either, a broker that is gone may never be noticed.
    public var heartbeat: Duration = .seconds(20)

    /// How long one attempt to connect may take, from looking the host up to the end of the login, for each of its
    /// addresses; more than zero. Each answer to what is declared then may take as long again.
    public var connectionTimeout: Duration = .seconds(10)

    /// What the management page shows of the connection; nil for the program's and the client's names.
    public var connectionName: String?

    /// How long to wait before connecting again, at first: doubled after each attempt, up to ``maximumReconnectDelay``, and
    /// drawn at random between half and all of that.
    public var minimumReconnectDelay: Duration = .milliseconds(100)

    /// How long to wait before connecting again, at most.
    public var maximumReconnectDelay: Duration = .seconds(10)

    /// The largest frame, 4,096 to 131,072 bytes; the broker may want less. Bodies that are larger travel in several.
    public var maximumFrameBytes = 131_072

    /// A broker.
    ///
    /// - Parameters:
    ///   - hosts: Its nodes.
    ///   - virtualHost: The virtual host.
    ///   - credentials: Who the client is.
    ///   - tls: How connections are encrypted; nil for not at all.
    public init(
        hosts: [String],
        virtualHost: String = "/",
        credentials: RabbitCredentials = .guest,
        tls: RabbitTLS? = nil
    ) {
        self.hosts = hosts
        self.virtualHost = virtualHost
        self.credentials = credentials
        self.tls = tls
    }

    /// The hosts, read.
    func parsedHosts() throws(RabbitError) -> [RabbitHost] {
        guard !hosts.isEmpty else { throw .invalidConfiguration("hosts is empty") }
        var parsed: [RabbitHost] = []
        for host in hosts {
            let port = tls == nil ? RabbitHost.plainPort : RabbitHost.encryptedPort
            parsed.append(try RabbitHost(host, defaultPort: port))
        }
        return parsed
    }

    /// The heartbeat as it travels.
    var heartbeatSeconds: UInt16 {
        UInt16(clamping: heartbeat.components.seconds + (heartbeat.components.attoseconds > 0 ? 1 : 0))
    }

    func validate() throws(RabbitError) {
        _ = try parsedHosts()
        guard heartbeat >= .zero, heartbeat <= .seconds(65_535) else {
            throw .invalidConfiguration("heartbeat is \(heartbeat), not from 0 to 65535 s")
        }
        guard connectionTimeout > .zero else {
            throw .invalidConfiguration("connectionTimeout is \(connectionTimeout), not more than zero")
        }
        guard minimumReconnectDelay > .zero, maximumReconnectDelay >= minimumReconnectDelay else {
            throw .invalidConfiguration(
                "minimumReconnectDelay is not more than zero, or more than maximumReconnectDelay"
            )
        }
        guard (4_096...131_072).contains(maximumFrameBytes) else {
            throw .invalidConfiguration("maximumFrameBytes is \(maximumFrameBytes), not from 4096 to 131072")
        }
        let (userName, password) = (credentials.userName, credentials.password)
        guard !userName.utf8.contains(0), !password.utf8.contains(0) else {
            throw .invalidConfiguration("the user or the password has a zero byte, which ends it (RFC 4616)")
        }
        guard userName.utf8.count + password.utf8.count + (connectionName?.utf8.count ?? 0) <= 3_000 else {
            // Before a size is agreed on, a frame has 4,096 bytes (AMQP 0-9-1, 4.2.3).
            throw .invalidConfiguration("user, password and connectionName have more than 3000 bytes together")
        }
        guard virtualHost.utf8.count <= 255 else {
            throw .invalidConfiguration("virtualHost has more than 255 bytes")
        }
        guard tls?.clientKey == nil || tls?.clientCertificate != nil else {
            throw .invalidConfiguration("there is a clientKey and no clientCertificate")
        }
        if credentials.mechanism == .external, tls?.clientCertificate == nil {
            throw .invalidConfiguration("EXTERNAL needs TLS and a clientCertificate")
        }
    }
}

extension RabbitBroker: CustomStringConvertible, CustomDebugStringConvertible {
    /// The hosts and the virtual host.
    public var description: String {
        "\(tls == nil ? "amqp" : "amqps")://\(hosts.joined(separator: ",")) \(virtualHost)"
    }

    /// The same.
    public var debugDescription: String { description }
}
