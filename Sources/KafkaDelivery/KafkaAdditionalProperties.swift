/// librdkafka's properties by name, for what has no setting of its own. Values of secrets are never printed.
///
/// ```swift
/// configuration.additionalProperties = ["socket.keepalive.enable": "true"]
/// configuration.additionalProperties["ssl.key.password"] = password
/// ```
///
/// The names and values are those of librdkafka's CONFIGURATION.md. Unknown ones, and those that the library's promises
/// rest on, are refused when the client is made.
public struct KafkaAdditionalProperties: Sendable, Hashable {
    var values: [String: String]

    /// Properties by name.
    public init(_ values: [String: String] = [:]) {
        self.values = values
    }

    /// A property's value; nil where it is not set.
    public subscript(name: String) -> String? {
        get { values[name] }
        set { values[name] = newValue }
    }
}

extension KafkaAdditionalProperties {
    /// Those about connections, which another kind of client for the same cluster needs too.
    package var ofConnections: KafkaAdditionalProperties {
        let prefixes = ["socket.", "ssl.", "sasl.", "enable.ssl.", "enable.sasl.", "broker.", "reconnect.", "https."]
        return KafkaAdditionalProperties(values.filter { entry in prefixes.contains { entry.key.hasPrefix($0) } })
    }
}

extension KafkaAdditionalProperties: ExpressibleByDictionaryLiteral {
    /// `["name": "value"]`; of a name that is written twice, the last counts.
    public init(dictionaryLiteral elements: (String, String)...) {
        self.init(Dictionary(elements, uniquingKeysWith: { $1 }))
    }
}

extension KafkaAdditionalProperties: CustomStringConvertible, CustomReflectable {
    /// Names and values, with `(secret)` in place of secrets.
    public var description: String {
        shown.description
    }

    /// Names and values, with `(secret)` in place of secrets.
    public var customMirror: Mirror {
        Mirror(reflecting: shown)
    }

    private var shown: [String: String] {
        Dictionary(
            uniqueKeysWithValues: values.map { name, value in
                (name, RdKafkaProperty.isSecret(name) ? "(secret)" : value)
            }
        )
    }
}
