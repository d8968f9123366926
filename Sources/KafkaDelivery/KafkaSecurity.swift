/// How a client encrypts its connections and says who it is. Passwords never appear in a description, an error or a
/// log line.
///
/// What is not here (client certificates, Kerberos, OAuth) can be set through `additionalProperties` with librdkafka's
/// `ssl.…` and `sasl.…` properties.
public struct KafkaSecurity: Sendable, Hashable {
    /// The hash that SCRAM uses.
    public enum Scram: String, Sendable, Hashable {
        /// `SCRAM-SHA-256`.
        case sha256 = "SCRAM-SHA-256"
        /// `SCRAM-SHA-512`.
        case sha512 = "SCRAM-SHA-512"
    }

    let properties: [String: String]

    /// Neither encryption nor authentication (`security.protocol=plaintext`).
    public static let plaintext = KafkaSecurity(
        properties: [RdKafkaProperty.securityProtocol: "plaintext"]
    )

    /// Encryption with TLS (`security.protocol=ssl`).
    ///
    /// - Parameter certificateAuthority: The path of the certificates to trust, nil for the system's.
    public static func tls(certificateAuthority: String? = nil) -> KafkaSecurity {
        KafkaSecurity(properties: protocolProperties(sasl: false, encrypted: true, authority: certificateAuthority))
    }

    /// A user name and a password, as they are (`sasl.mechanism=PLAIN`).
    ///
    /// - Parameters:
    ///   - userName: The user.
    ///   - password: The password.
    ///   - encrypted: Whether the connection uses TLS. Without it the password can be read on the network.
    ///   - certificateAuthority: The path of the certificates to trust, nil for the system's.
    public static func plain(
        userName: String,
        password: String,
        encrypted: Bool = true,
        certificateAuthority: String? = nil
    ) -> KafkaSecurity {
        sasl("PLAIN", userName, password, encrypted, certificateAuthority)
    }

    /// A user name and a password that never travels (`sasl.mechanism=SCRAM-SHA-…`).
    ///
    /// Kafka 4 needs librdkafka 2.6.1 or newer for it: older ones send the client's nonce twice, and are refused as if the
    /// password were wrong. ``plain(userName:password:encrypted:certificateAuthority:)`` and certificates work with any.
    ///
    /// - Parameters:
    ///   - hash: The hash that the broker has for this user.
    ///   - userName: The user.
    ///   - password: The password.
    ///   - encrypted: Whether the connection uses TLS.
    ///   - certificateAuthority: The path of the certificates to trust, nil for the system's.
    public static func scram(
        _ hash: Scram,
        userName: String,
        password: String,
        encrypted: Bool = true,
        certificateAuthority: String? = nil
    ) -> KafkaSecurity {
        sasl(hash.rawValue, userName, password, encrypted, certificateAuthority)
    }

    private static func sasl(
        _ mechanism: String,
        _ userName: String,
        _ password: String,
        _ encrypted: Bool,
        _ authority: String?
    ) -> KafkaSecurity {
        var properties = protocolProperties(sasl: true, encrypted: encrypted, authority: authority)
        properties[RdKafkaProperty.mechanism] = mechanism
        properties[RdKafkaProperty.userName] = userName
        properties[RdKafkaProperty.password] = password
        return KafkaSecurity(properties: properties)
    }

    private static func protocolProperties(sasl: Bool, encrypted: Bool, authority: String?) -> [String: String] {
        let name = [sasl ? "sasl" : nil, encrypted ? "ssl" : "plaintext"].compactMap(\.self).joined(separator: "_")
        var properties = [RdKafkaProperty.securityProtocol: name]
        properties[RdKafkaProperty.certificateAuthority] = authority
        return properties
    }
}

extension KafkaSecurity: CustomStringConvertible, CustomReflectable {
    /// The protocol and the mechanism; never who, never the password.
    public var description: String {
        [RdKafkaProperty.securityProtocol, RdKafkaProperty.mechanism]
            .compactMap { properties[$0] }
            .joined(separator: " ")
    }

    /// Without the properties, so that `dump` shows no password.
    public var customMirror: Mirror {
        Mirror(self, children: ["description": description])
    }
}
