/// Who a client is. Passwords never appear in a description, a dump, an error or a log line.
public struct RabbitCredentials: Sendable, Hashable {
    enum Mechanism: String, Sendable {
        case plain = "PLAIN"
        case amqplain = "AMQPLAIN"
        case external = "EXTERNAL"
    }

    let mechanism: Mechanism
    /// The user's name; empty for ``external``.
    public let userName: String
    let password: String

    /// A user name and a password, as they are (RFC 4616). Without TLS they can be read on the network.
    public static func plain(userName: String, password: String) -> RabbitCredentials {
        RabbitCredentials(mechanism: .plain, userName: userName, password: password)
    }

    /// The same in RabbitMQ's older form, a table.
    public static func amqplain(userName: String, password: String) -> RabbitCredentials {
        RabbitCredentials(mechanism: .amqplain, userName: userName, password: password)
    }

    /// The client's certificate says who it is (RFC 4422, appendix A); the broker needs `rabbitmq_auth_mechanism_ssl`.
    public static let external = RabbitCredentials(mechanism: .external, userName: "", password: "")

    /// `guest`, whom a broker lets in from its own machine only.
    public static let guest = RabbitCredentials.plain(userName: "guest", password: "guest")
}

extension RabbitCredentials: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The mechanism; never who, never the password.
    public var description: String { mechanism.rawValue }

    /// The mechanism.
    public var debugDescription: String { description }

    /// Without the password, so that `dump` does not show it.
    public var customMirror: Mirror { Mirror(self, children: ["mechanism": mechanism.rawValue]) }
}

/// How connections are encrypted: with TLS 1.2 or newer, through OpenSSL.
public struct RabbitTLS: Sendable, Hashable {
    /// The path of a PEM file with the certificates to trust; nil for the system's.
    public var certificateAuthority: String?
    /// The path of a PEM file with the client's certificate and those that lead from it to its authority; nil for none.
    public var clientCertificate: String?
    /// The path of a PEM file with the key of ``clientCertificate``.
    public var clientKey: String?
    /// What the key is encrypted with; nil where it is not.
    public var clientKeyPassword: String?
    /// Whether the certificate of the broker must lead to an authority that is trusted. Turning it off leaves the connection
    /// open to a machine in between.
    public var verifiesPeer = true
    /// Whether the certificate must be for the host that was connected to: its name, or its address.
    public var verifiesHost = true
    /// The name that the broker's certificate must be for, and that is asked for (SNI); nil for the host's.
    public var serverName: String?

    /// Trusts what the system trusts, and checks the host.
    public init(
        certificateAuthority: String? = nil,
        clientCertificate: String? = nil,
        clientKey: String? = nil,
        clientKeyPassword: String? = nil
    ) {
        self.certificateAuthority = certificateAuthority
        self.clientCertificate = clientCertificate
        self.clientKey = clientKey
        self.clientKeyPassword = clientKeyPassword
    }
}

extension RabbitTLS: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// What is checked; never the key's password.
    public var description: String {
        "TLS" + (verifiesPeer ? "" : ", any certificate") + (verifiesHost ? "" : ", any host")
    }

    /// The same.
    public var debugDescription: String { description }

    /// Without the key's password.
    public var customMirror: Mirror {
        Mirror(
            self,
            children: [
                "certificateAuthority": certificateAuthority as Any,
                "clientCertificate": clientCertificate as Any,
                "verifiesPeer": verifiesPeer,
                "verifiesHost": verifiesHost,
            ]
        )
    }
}
