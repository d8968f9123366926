/// What librdkafka takes and then does without: a wrong address is a line in its log, and a log-in without a token never begins.
extension RdKafkaConfiguration {
    /// Refuses it, naming it. When everything else is set: what is right depends on it.
    func validate() throws(KafkaError) {
        let servers = (value(of: RdKafkaProperty.bootstrapServers) ?? "").split(separator: ",")
        for server in servers {
            if let fault = Self.fault(ofServer: String(server), securityProtocol: securityProtocol) {
                throw .invalidConfiguration("bootstrapServers: \"\(server)\" \(fault)")
            }
        }
        try validateTokenSource()
    }

    var securityProtocol: String {
        (value(of: RdKafkaProperty.securityProtocol) ?? "plaintext").lowercased()
    }

    /// Why something is no address; nil where it is one: `host:port`, `host` (9092 is then the port), `[::1]:9092`, and any of
    /// these after the name of the security protocol that is used anyway, as in `SASL_SSL://host:port`.
    static func fault(ofServer server: String, securityProtocol: String) -> String? {
        var address = Substring(server)
        if let end = address.range(of: "://") {
            let name = address[..<end.lowerBound].lowercased()
            guard ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"].contains(name) else {
                return "is no address of Kafka's: host:port is needed, without \(name)://"
            }
            guard name == securityProtocol else {
                return "asks for the security protocol \(name), and \(securityProtocol) is set: see security"
            }
            address = address[end.upperBound...]
        }
        guard !address.contains(where: { $0.isWhitespace || $0 == "/" || $0 == "\0" }), !address.isEmpty else {
            return "is no host:port"
        }
        if address.first == "[" {
            guard let end = address.firstIndex(of: "]"), address.index(after: address.startIndex) < end else {
                return "is no [address]:port"
            }
            let rest = address[address.index(after: end)...]
            return rest.isEmpty ? nil : rest.first == ":" ? fault(ofPort: rest.dropFirst()) : "is no [address]:port"
        }
        let parts = address.split(separator: ":", omittingEmptySubsequences: false)
        // More colons are an address of IPv6's, without a port.
        if parts.count > 2 { return nil }
        guard let host = parts.first, !host.isEmpty else { return "names no host" }
        return parts.count == 2 ? fault(ofPort: parts[1]) : nil
    }

    private static func fault(ofPort port: Substring) -> String? {
        guard let number = Int(port), (1...65_535).contains(number), port.allSatisfy(\.isWholeNumber) else {
            return "has the port \"\(port)\": 1 to 65535 are possible"
        }
        return nil
    }

    private func validateTokenSource() throws(KafkaError) {
        let mechanism = value(of: RdKafkaProperty.mechanism) ?? value(of: "sasl.mechanisms") ?? ""
        guard securityProtocol.hasPrefix("sasl"), mechanism.uppercased() == "OAUTHBEARER",
            value(of: "sasl.oauthbearer.method")?.lowercased() != "oidc",
            value(of: "enable.sasl.oauthbearer.unsecure.jwt") != "true"
        else { return }
        throw .invalidConfiguration(
            "sasl.mechanism is OAUTHBEARER, and nothing says where its tokens come from: set sasl.oauthbearer.method to oidc, "
                + "with sasl.oauthbearer.token.endpoint.url, sasl.oauthbearer.client.id and sasl.oauthbearer.client.secret"
        )
    }
}

extension StringProtocol {
    /// Up to the end of a text, where it occurs; else all of it.
    func prefix(through text: String) -> SubSequence {
        range(of: text).map { self[..<$0.upperBound] } ?? self[...]
    }

    /// Where a text occurs first.
    fileprivate func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
