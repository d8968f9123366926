/// librdkafka's property names, all of them in this file.
///
/// What the library relies on for its promises is set by the library and refused in `additionalProperties`.
enum RdKafkaProperty {
    static let bootstrapServers = "bootstrap.servers"
    static let clientID = "client.id"
    static let metadataRecovery = "metadata.recovery.strategy"
    static let logQueue = "log.queue"
    static let debug = "debug"

    static let securityProtocol = "security.protocol"
    static let certificateAuthority = "ssl.ca.location"
    static let mechanism = "sasl.mechanism"
    static let userName = "sasl.username"
    static let password = "sasl.password"

    static let idempotence = "enable.idempotence"
    static let acknowledgements = "acks"
    static let linger = "linger.ms"
    static let maximumInFlightRequests = "max.in.flight.requests.per.connection"
    static let messageTimeout = "message.timeout.ms"
    static let maximumMessageBytes = "message.max.bytes"
    static let maximumBatchBytes = "batch.size"
    static let maximumBufferedMessages = "queue.buffering.max.messages"
    static let maximumBufferedKilobytes = "queue.buffering.max.kbytes"
    static let compression = "compression.type"
    static let partitioner = "partitioner"
    static let deliveryReportsOnlyForErrors = "delivery.report.only.error"
    static let transactionalID = "transactional.id"
    static let transactionTimeout = "transaction.timeout.ms"
    static let requestTimeout = "request.timeout.ms"

    static let group = "group.id"
    static let groupInstance = "group.instance.id"
    static let automaticCommit = "enable.auto.commit"
    static let automaticOffsetStore = "enable.auto.offset.store"
    static let offsetReset = "auto.offset.reset"
    static let groupProtocol = "group.protocol"
    static let remoteAssignor = "group.remote.assignor"
    static let assignmentStrategy = "partition.assignment.strategy"
    static let sessionTimeout = "session.timeout.ms"
    static let heartbeatInterval = "heartbeat.interval.ms"
    static let maximumPollInterval = "max.poll.interval.ms"
    static let prefetchMessages = "queued.min.messages"
    static let prefetchKilobytes = "queued.max.messages.kbytes"
    static let fetchPartitionBytes = "fetch.message.max.bytes"
    static let fetchWait = "fetch.wait.max.ms"
    static let fetchQueueBackoff = "fetch.queue.backoff.ms"
    static let isolation = "isolation.level"
    static let metadataRefresh = "topic.metadata.refresh.interval.ms"
    static let partitionEnd = "enable.partition.eof"

    /// Whose property it is to be.
    enum Role {
        case producer
        case consumer
    }

    /// Why a property cannot be set among others, with where else to look; nil where it can.
    static func refusal(of name: String, for role: Role) -> String? {
        if let instead = owned[name] { return instead }
        switch role {
        case .producer:
            if let instead = ownedOfProducers[name] { return instead }
            return ownedOfConsumers[name] == nil ? nil : "it is a consumer's"
        case .consumer:
            if let instead = ownedOfConsumers[name] { return instead }
            // What a consumer's fetches may bring follows from it, too.
            return name == maximumMessageBytes || ownedOfProducers[name] == nil ? nil : "it is a producer's"
        }
    }

    /// What the library relies on and may not be changed, with where else to look.
    private static let owned: [String: String] = [
        bootstrapServers: "use `bootstrapServers`",
        "metadata.broker.list": "use `bootstrapServers`",
        clientID: "use `clientID`",
        logQueue: "log messages go to the client's logger",
        "enabled_events": "the library receives librdkafka's events itself",
        "test.mock.num.brokers": "use MockCluster of KafkaDeliveryTesting",
    ]

    private static let ownedOfProducers: [String: String] = [
        idempotence: "use `idempotence`",
        acknowledgements: "use `acknowledgements`",
        "request.required.acks": "use `acknowledgements`",
        linger: "use `linger`",
        "queue.buffering.max.ms": "use `linger`",
        maximumInFlightRequests: "use `maximumInFlightRequests`",
        "max.in.flight": "use `maximumInFlightRequests`",
        messageTimeout: "use `messageTimeout`",
        "delivery.timeout.ms": "use `messageTimeout`",
        maximumMessageBytes: "use `maximumMessageBytes`",
        maximumBatchBytes: "use `maximumBatchBytes`",
        maximumBufferedMessages: "use `maximumBufferedMessages`",
        maximumBufferedKilobytes: "use `maximumBufferedBytes`",
        compression: "use `compression`",
        "compression.codec": "use `compression`",
        deliveryReportsOnlyForErrors: "every send gets its report",
        transactionalID: "a transactional producer is a type of its own, KafkaTransactionalProducer",
        transactionTimeout: "use `transactionTimeout` of a KafkaTransactionalProducer",
    ]

    private static let ownedOfConsumers: [String: String] = [
        group: "use `group`",
        groupInstance: "use `groupInstanceID`",
        automaticCommit: "nothing is committed that was not acknowledged",
        "auto.commit.enable": "nothing is committed that was not acknowledged",
        automaticOffsetStore: "nothing is committed that was not acknowledged",
        offsetReset: "use `autoOffsetReset`",
        assignmentStrategy: "use `assignmentStrategies`",
        prefetchMessages: "use `prefetch`",
        prefetchKilobytes: "use `prefetch`",
        fetchPartitionBytes: "use `prefetch`",
        "max.partition.fetch.bytes": "use `prefetch`",
        isolation: "use `isolation`",
        groupProtocol: "use `groupProtocol`",
        sessionTimeout: "use `sessionTimeout`",
        heartbeatInterval: "use `heartbeatInterval`",
        remoteAssignor: "use `remoteAssignor`",
        partitionEnd: "the library watches the end of partitions itself",
    ]

    /// What a member decides in the classic group protocol only, with who does in the other.
    static let classicGroupOnly: [String: String] = [
        "group.protocol.type": "there is none"
    ]

    /// Properties whose values are secrets and must never be printed.
    static func isSecret(_ name: String) -> Bool {
        let name = name.lowercased()
        return ["password", "passphrase", "secret", "key.pem", "ssl.key", "oauthbearer.config", "keystore", "jaas"]
            .contains { name.contains($0) }
    }
}
