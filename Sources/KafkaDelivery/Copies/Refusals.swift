/// What can be said of a message before it is sent, and of an error about one: whether it is any use to send it again.
extension KafkaMessage {
    /// Why the message can never be stored; nil where only sending it tells.
    ///
    /// - Parameter maximumBytes: The producer's `message.max.bytes`.
    func refusal(maximumBytes: Int) -> KafkaError? {
        if let error = Self.refusal(ofTopic: topic) { return error }
        guard wireSize > maximumBytes else { return nil }
        return KafkaError(
            .messageTooLarge,
            persistence: .notPersisted,
            recovery: .fixRequest,
            reason:
                "\(topic): the message takes \(wireSize) bytes, and the producer's maximumMessageBytes is \(maximumBytes)"
        )
    }

    /// Why no broker has a topic of this name (`org.apache.kafka.common.internals.Topic`); nil where one may.
    static func refusal(ofTopic topic: String) -> KafkaError? {
        TopicName.fault(of: topic).map { .invalidArgument($0) }
    }

    /// How many bytes librdkafka compares with `message.max.bytes` (`rd_kafka_msg_max_wire_size`): key, value and headers,
    /// and the most that a record's framing takes.
    var wireSize: Int {
        let framing = 36
        return headers.reduce(framing + (key?.count ?? 0) + (value?.count ?? 0)) { sum, header in
            let (name, value) = (header.name.utf8.count, header.value?.count ?? 0)
            return sum + Self.lengthBytes(name) + name + Self.lengthBytes(header.value == nil ? -1 : value) + value
        }
    }

    /// How many bytes a length takes: seven bits each, and one bit of all for the sign.
    private static func lengthBytes(_ length: Int) -> Int {
        var (rest, count) = (length < 0 ? 0 : length >> 6, 1)
        while rest > 0 {
            rest >>= 7
            count += 1
        }
        return count
    }
}

extension KafkaError {
    /// Whether the same message will be refused again, whatever time passes: it is too large, or not what the topic or any
    /// broker takes. A topic that is not there may be made, and what is not allowed may be allowed; and of a producer that is
    /// closed, or has failed for good, no message is to blame.
    var isOfMessageItself: Bool {
        switch (kind, recovery) {
        case (.unknownTopicOrPartition, _), (.authorization, _), (.authentication, _), (.invalidConfiguration, _): false
        case (_, .fixRequest): true
        case (_, .retry), (_, .abortTransaction), (_, .recreateClient): false
        }
    }

    /// Whether a replay was refused in a way that says nothing about the next one.
    var isRefusalOfReplay: Bool {
        recovery == .fixRequest && persistence == .notPersisted
            && ![.authentication, .invalidConfiguration].contains(kind)
    }
}
