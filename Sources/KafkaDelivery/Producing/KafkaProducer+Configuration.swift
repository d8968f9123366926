public import CoreMetrics

extension KafkaProducer {
    /// The settings of a producer. Only the addresses are required; the rest are the safest values, which are also the
    /// fastest for awaited sends.
    public struct Configuration: Sendable {
        /// How many replicas have to store a message before it counts as sent (`acks`).
        public enum Acknowledgements: String, Sendable {
            /// All that are in sync.
            case all = "all"
            /// The leader alone: lost if it fails before the others have copied the message.
            case leader = "1"
            /// None: the report says only that the message was written to the network, and has no offset.
            case none = "0"
        }

        /// How messages are compressed on their way and in the topic (`compression.type`).
        public enum Compression: String, Sendable {
            /// Not at all.
            case none
            /// Small, slow.
            case gzip
            /// Fast.
            case snappy
            /// Fast.
            case lz4
            /// Small and fast; brokers from 2.1 on.
            case zstd
        }

        /// Where to find the cluster, as `host:port` or `[address]:port`; one that answers is enough (`bootstrap.servers`).
        /// Without a port it is 9092. `SASL_SSL://` and the like may be before it where they name what ``security`` says.
        public var bootstrapServers: [String]

        /// The name the brokers log and account this client under (`client.id`).
        public var clientID: String = "kafka-delivery"

        /// Whether the broker recognises what the producer sends again after a lost answer, so that a message is stored
        /// once and in order within the producer's life (KIP-98, `enable.idempotence`).
        ///
        /// Without it a retry after a lost answer stores the message twice, and, with more than one request in flight,
        /// a retry may overtake.
        ///
        /// It ends where a message that may be stored runs out of its ``messageTimeout``: the producer then goes on under a
        /// new epoch (KIP-360), and what it was just sending again beside that message may be stored twice.
        public var idempotence: Bool = true

        /// How many replicas have to store a message. Idempotence needs ``Acknowledgements/all``.
        public var acknowledgements: Acknowledgements = .all

        /// How long to wait for more messages before a request is sent (`linger.ms`), 0 to 15 minutes.
        ///
        /// Zero is right for awaited sends: while ``maximumInFlightRequests`` are under way messages collect by
        /// themselves. A service that only pipelines may gain from 1 ms.
        public var linger: Duration = .zero

        /// How many requests may be under way to one broker at a time (`max.in.flight.requests.per.connection`), 1 or
        /// more; with idempotence at most 5.
        ///
        /// With more than one, a broker that has just become a partition's leader may refuse a producer's first request there and
        /// take the second one: what was in the first fails, with ``KafkaError/Kind/unconfirmed``, and comes after the second where
        /// it is sent again (KAFKA-15591). With 1 that cannot happen, and each partition keeps its order whatever the brokers do.
        public var maximumInFlightRequests: Int = 5

        /// How long a message may take from being accepted to being confirmed, retries included
        /// (`message.timeout.ms`), 1 ms to 24 days. A sender also waits at most this long for room in the buffer.
        public var messageTimeout: Duration = .seconds(120)

        /// The largest message, with its headers and Kafka's framing (`message.max.bytes`), 1,000 to 1,000,000,000
        /// bytes. Topic and broker have limits of their own, about 1 MB by default.
        public var maximumMessageBytes: Int = 1_000_000

        /// How large the messages may be that travel together, with their headers and Kafka's framing (`batch.size`), 1 byte to
        /// 2 GiB. A message that is larger travels by itself.
        ///
        /// A topic's and the broker's limit (`max.message.bytes`, `message.max.bytes`, 1 MiB by default) is for
        /// the whole batch. Where a topic's is lower than this, set this as low: what is refused together is to be sent again
        /// by itself (``KafkaError/Kind/batchRefused``).
        public var maximumBatchBytes: Int = 1_000_000

        /// How many messages may wait for their confirmation (`queue.buffering.max.messages`), 1 to 10,000,000. When it
        /// is reached, senders wait.
        public var maximumBufferedMessages: Int = 100_000

        /// How many bytes of keys and values may wait for their confirmation (`queue.buffering.max.kbytes`), 1 KiB to
        /// 2 TiB, counted in whole KiB. When it is reached, senders wait.
        public var maximumBufferedBytes: Int = 128 << 20

        /// How messages are compressed.
        public var compression: Compression = .none

        /// Whether every message gets an ``KafkaMessage/idempotencyKey`` that has none, so that its receiver can tell when it
        /// was sent twice (``KafkaDeduplicator``). To send one again with the same key, stamp it before, with
        /// ``KafkaMessage/stampedWithIdempotencyKey()``.
        public var stampsIdempotencyKey: Bool = false

        /// Where metrics go (<doc:Metrics>); nil for the backend that the process has bootstrapped when the client is made.
        public var metricsFactory: (any MetricsFactory)?

        /// How often metrics are brought up to date; tests wait for that.
        package var metricsInterval: Duration = .seconds(5)

        /// How connections are encrypted and authenticated.
        public var security: KafkaSecurity = .plaintext

        /// How long ``KafkaProducer/run()`` and the end of ``withKafkaProducer(_:logger:_:)`` wait for what is still
        /// under way.
        public var closeTimeout: Duration = .seconds(30)

        /// librdkafka's other properties, by the names its CONFIGURATION.md has. Those that the library's promises rest
        /// on are refused.
        public var additionalProperties = KafkaAdditionalProperties()

        /// Set by `FaultRelay.route` of KafkaDeliveryTesting.
        package var route: ConnectionRoute?

        /// The safe settings for a cluster.
        public init(bootstrapServers: [String]) {
            self.bootstrapServers = bootstrapServers
        }
    }
}

extension KafkaProducer.Configuration {
    func rdKafka() throws(KafkaError) -> RdKafkaConfiguration {
        typealias Property = RdKafkaProperty
        var result = RdKafkaConfiguration()
        try result.setCommon(bootstrapServers: bootstrapServers, clientID: clientID, security: security)
        result.route = route

        if idempotence, acknowledgements != .all {
            throw .invalidConfiguration("idempotence needs acknowledgements = .all, not .\(acknowledgements)")
        }
        if idempotence, maximumInFlightRequests > 5 {
            throw .invalidConfiguration(
                "maximumInFlightRequests is \(maximumInFlightRequests); with idempotence at most 5 keep their order"
            )
        }
        result.set(Property.idempotence, idempotence)
        result.set(Property.acknowledgements, acknowledgements.rawValue)
        try result.set(Property.linger, linger, in: .zero ... .seconds(900), as: "linger")
        try result.set(
            Property.maximumInFlightRequests,
            maximumInFlightRequests,
            in: 1...1_000_000,
            as: "maximumInFlightRequests"
        )
        try result.set(
            Property.messageTimeout,
            messageTimeout,
            in: .milliseconds(1) ... .milliseconds(Int32.max),
            as: "messageTimeout"
        )
        try result.set(
            Property.maximumMessageBytes,
            maximumMessageBytes,
            in: 1_000...1_000_000_000,
            as: "maximumMessageBytes"
        )
        try result.set(
            Property.maximumBatchBytes,
            maximumBatchBytes,
            in: 1...Int(Int32.max),
            as: "maximumBatchBytes"
        )
        try result.set(
            Property.maximumBufferedMessages,
            maximumBufferedMessages,
            in: 1...10_000_000,
            as: "maximumBufferedMessages"
        )
        guard (1024...(2 << 40)).contains(maximumBufferedBytes) else {
            throw .invalidConfiguration("maximumBufferedBytes is \(maximumBufferedBytes), outside of 1 KiB to 2 TiB")
        }
        result.set(Property.maximumBufferedKilobytes, min(maximumBufferedBytes >> 10, Int(Int32.max)))
        result.set(Property.compression, compression.rawValue)
        // The Java client's choice: murmur2 of the key, any partition where there is none.
        result.set(Property.partitioner, "murmur2_random")
        try result.add(additionalProperties, for: .producer)
        return result
    }
}

extension RdKafkaConfiguration {
    /// What producers and consumers have in common.
    mutating func setCommon(
        bootstrapServers: [String],
        clientID: String,
        security: KafkaSecurity
    ) throws(KafkaError) {
        guard !bootstrapServers.isEmpty, bootstrapServers.allSatisfy({ !$0.isEmpty && !$0.contains(",") }) else {
            throw .invalidConfiguration(
                "bootstrapServers is \(bootstrapServers): one or more host:port are needed, each an element of its own"
            )
        }
        set(RdKafkaProperty.bootstrapServers, bootstrapServers.joined(separator: ","))
        set(RdKafkaProperty.clientID, clientID)
        for (name, value) in security.properties.sorted(by: { $0.key < $1.key }) {
            set(name, value)
        }
    }
}
