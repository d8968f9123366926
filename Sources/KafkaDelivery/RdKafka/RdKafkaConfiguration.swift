internal import CRdKafka

/// Builds a client from property names and values, and says clearly which of them is wrong.
struct RdKafkaConfiguration {
    private(set) var properties: [(name: String, value: String)] = []

    /// Where connections go instead of the brokers' own addresses.
    var route: ConnectionRoute?

    mutating func set(_ name: String, _ value: String) {
        properties.append((name, value))
    }

    mutating func set(_ name: String, _ value: Int) {
        set(name, String(value))
    }

    mutating func set(_ name: String, _ value: Bool) {
        set(name, value ? "true" : "false")
    }

    /// Sets a duration in milliseconds; less than one millisecond, where it is not zero, counts as one.
    mutating func set(
        _ name: String,
        _ value: Duration,
        in range: ClosedRange<Duration>,
        as setting: String
    ) throws(KafkaError) {
        try Self.check(value, in: range, as: setting)
        set(name, Int(value.milliseconds))
    }

    /// Sets a number that has to lie within a range.
    mutating func set(
        _ name: String,
        _ value: Int,
        in range: ClosedRange<Int>,
        as setting: String
    ) throws(KafkaError) {
        try Self.check(value, in: range, as: setting)
        set(name, value)
    }

    private static func check<Value: Comparable>(
        _ value: Value,
        in range: ClosedRange<Value>,
        as setting: String
    ) throws(KafkaError) {
        guard range.contains(value) else {
            throw .invalidConfiguration("\(setting) is \(value), outside of \(range.lowerBound) to \(range.upperBound)")
        }
    }

    /// Takes over a user's own properties, last, so that they win over defaults; refuses those the library owns, and what all of
    /// them together make impossible.
    mutating func add(
        _ additional: KafkaAdditionalProperties,
        for role: RdKafkaProperty.Role
    ) throws(KafkaError) {
        for (name, value) in additional.values.sorted(by: { $0.key < $1.key }) {
            if let instead = RdKafkaProperty.refusal(of: name, for: role) {
                throw .invalidConfiguration("\(name) cannot be among additionalProperties: \(instead)")
            }
            set(name, value)
        }
        try validate()
    }

    /// The value that was set last.
    func value(of name: String) -> String? {
        properties.last { $0.name == name }?.value
    }

    /// Makes the client.
    ///
    /// - Parameter events: Which of librdkafka's events are wanted, beside logs and errors (`rd_kafka_conf_set_events`).
    func makeClient(_ type: rd_kafka_type_t, events: Int32) throws(KafkaError) -> RdKafkaClient {
        guard let raw = rd_kafka_conf_new() else {
            throw KafkaError(.client, recovery: .retry, reason: "librdkafka has no memory for a configuration")
        }
        let configuration = OwnedHandle(raw, destroy: rd_kafka_conf_destroy)
        for (name, value) in properties {
            try Self.apply(name, value, to: configuration.raw)
        }
        let callbacks = try makeCallbacks(type, configuration.raw)
        for (name, value) in Quirks.current.defaults(isConsumer: type == RD_KAFKA_CONSUMER, value: value(of:)) {
            try Self.apply(name, value, to: configuration.raw)
        }
        rd_kafka_conf_set_events(configuration.raw, RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_ERROR | events)

        var reason = [CChar](repeating: 0, count: 512)
        guard let client = rd_kafka_new(type, configuration.raw, &reason, reason.count) else {
            throw .invalidConfiguration(redacted(String(nullTerminated: reason)))
        }
        // The client owns it from here on, where there is one.
        _ = configuration.release()
        return RdKafkaClient(client, credentials: credentials, callbacks: callbacks)
    }

    /// Makes a producer whose delivery reports, errors and log lines come through its main queue.
    func makeProducer() throws(KafkaError) -> RdKafkaClient {
        try makeClient(RD_KAFKA_PRODUCER, events: RD_KAFKA_EVENT_DR)
    }

    /// What librdkafka's threads call; nil where nothing has to be.
    private func makeCallbacks(
        _ type: rd_kafka_type_t,
        _ configuration: OpaquePointer
    ) throws(KafkaError) -> ClientCallbacks? {
        let debug = value(of: RdKafkaProperty.debug)
        var groupLog: GroupLog?
        if type == RD_KAFKA_CONSUMER {
            groupLog = GroupLog(keepsDebugging: debug != nil)
            // The protocol of KIP-848 has no joins that are answered late, and other states.
            if value(of: "group.protocol") != "consumer" {
                let contexts = [debug, GroupLog.context].compactMap(\.self).joined(separator: ",")
                try Self.apply(RdKafkaProperty.debug, contexts, to: configuration)
            } else if let level = value(of: "log_level").flatMap({ Int($0) }), level < 4 {
                // Without warnings nothing would tell of offsets that are gone; `debug` brings everything anyway.
                try Self.apply("log_level", "4", to: configuration)
            }
        } else {
            // Log lines come through the queue, so that no callback runs on librdkafka's threads.
            try Self.apply(RdKafkaProperty.logQueue, "true", to: configuration)
        }
        let verifiesCertificates =
            securityProtocol.hasSuffix("ssl") && value(of: "enable.ssl.certificate.verification") != "false"
        guard route != nil || groupLog != nil || verifiesCertificates else { return nil }
        let callbacks = ClientCallbacks(route: route, groupLog: groupLog, verifiesCertificates: verifiesCertificates)
        callbacks.apply(to: configuration)
        return callbacks
    }

    private static func apply(_ name: String, _ value: String, to configuration: OpaquePointer) throws(KafkaError) {
        guard !name.utf8.contains(0), !value.utf8.contains(0) else {
            throw .invalidConfiguration("\(name.replacing("\0", with: "␀")): a zero byte cannot be part of a setting")
        }
        var reason = [CChar](repeating: 0, count: 512)
        let result = rd_kafka_conf_set(configuration, name, value, &reason, reason.count)
        guard result != RD_KAFKA_CONF_OK else { return }
        // librdkafka's own sentence may repeat the value, so a secret's is not shown.
        let shown = RdKafkaProperty.isSecret(name) ? "(secret)" : "\"\(value)\""
        let why = RdKafkaProperty.isSecret(name) ? "was refused" : String(nullTerminated: reason)
        throw .invalidConfiguration("\(name) = \(shown): \(why)")
    }

    private func redacted(_ text: String) -> String {
        properties.reduce(text) { text, property in
            RdKafkaProperty.isSecret(property.name) && !property.value.isEmpty
                ? text.replacing(property.value, with: "(secret)") : text
        }
    }

    private var credentials: RdKafkaClient.Credentials {
        RdKafkaClient.Credentials(
            mechanism: value(of: RdKafkaProperty.mechanism) ?? value(of: "sasl.mechanisms") ?? "",
            userName: value(of: RdKafkaProperty.userName) ?? "",
            password: value(of: RdKafkaProperty.password) ?? ""
        )
    }
}

extension String {
    /// The text before the first zero in a C buffer.
    init(nullTerminated buffer: [CChar]) {
        self.init(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

extension Duration {
    /// At least zero and at most 24 days: what a deadline can be set to, whatever is asked for.
    var asTimeout: Duration {
        min(max(self, .zero), .milliseconds(Int32.max))
    }

    /// Whole milliseconds; less than one, where it is not zero, counts as one. Durations beyond what a C `int` of
    /// milliseconds holds are cut to it (24 days).
    var milliseconds: Int32 {
        // Compared before it is taken apart: the parts of a longer duration may not fit into what they are given in.
        guard self < .milliseconds(Int32.max) else { return .max }
        guard self > .milliseconds(Int32.min) else { return .min }
        let (seconds, attoseconds) = components
        let milliseconds = seconds * 1000 + attoseconds / 1_000_000_000_000_000
        return Int32(milliseconds == 0 && self > .zero ? 1 : milliseconds)
    }
}
