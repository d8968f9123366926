extension KafkaTransactionalProducer {
    /// The settings of a transactional producer: its transactional id, its time-outs, and those of any producer, which can
    /// be read and set here by their own names.
    ///
    /// ```swift
    /// var configuration = KafkaTransactionalProducer.Configuration(
    ///     transactionalID: "billing-0",
    ///     bootstrapServers: ["localhost:9092"]
    /// )
    /// configuration.compression = .zstd               // KafkaProducer.Configuration's
    /// ```
    @dynamicMemberLookup
    public struct Configuration: Sendable {
        /// The name under which the coordinator knows this producer across restarts (`transactional.id`), 1 to 249 bytes.
        ///
        /// At any time one producer uses it: a second one that initialises takes over, and the first is fenced. So each
        /// instance of a service needs one of its own, and the same again when it restarts, so that what it left
        /// open is ended at once and not after ``transactionTimeout``.
        public var transactionalID: String

        /// How long a transaction may take, from its first message or offset to its commit, until the coordinator aborts it
        /// (`transaction.timeout.ms`), 1 second to what the broker allows (`transaction.max.timeout.ms`, 15 minutes by
        /// default). Readers of committed messages wait for an open transaction, so a producer that has died
        /// holds them up for this long.
        public var transactionTimeout: Duration = .seconds(60)

        /// How long initialising, committing or aborting may take, retries included, and before a commit the confirmations of what was
        /// sent, 1 ms to 24 days each. It also bounds what cancellation waits for: a commit that has begun is not cut short, nor is an
        /// abort.
        public var operationTimeout: Duration = .seconds(30)

        /// How messages are sent. ``KafkaProducer/Configuration/idempotence`` and all replicas are required, and
        /// a message has at most ``transactionTimeout`` to be confirmed.
        public var producer: KafkaProducer.Configuration

        /// The safe settings for a cluster.
        public init(transactionalID: String, bootstrapServers: [String]) {
            self.init(transactionalID: transactionalID, producer: .init(bootstrapServers: bootstrapServers))
        }

        /// Transactions with the settings of another producer.
        public init(transactionalID: String, producer: KafkaProducer.Configuration) {
            self.transactionalID = transactionalID
            self.producer = producer
        }

        /// A setting of ``producer``, by its own name.
        public subscript<Value>(dynamicMember path: WritableKeyPath<KafkaProducer.Configuration, Value>) -> Value {
            get { producer[keyPath: path] }
            set { producer[keyPath: path] = newValue }
        }
    }
}

extension KafkaTransactionalProducer.Configuration {
    /// What the producer inside is made with.
    var effectiveProducer: KafkaProducer.Configuration {
        var producer = producer
        // librdkafka refuses a message that may outlive its transaction.
        producer.messageTimeout = min(producer.messageTimeout, transactionTimeout)
        return producer
    }

    func rdKafka() throws(KafkaError) -> RdKafkaConfiguration {
        guard (1...249).contains(transactionalID.utf8.count), !transactionalID.utf8.contains(0),
            !transactionalID.allSatisfy(\.isWhitespace)
        else {
            throw .invalidConfiguration(
                "transactionalID is \"\(transactionalID)\": it takes a name of 1 to 249 bytes, none zero"
            )
        }
        guard producer.idempotence else {
            throw .invalidConfiguration("idempotence = false is not possible with transactions")
        }
        guard (.milliseconds(1) ... .milliseconds(Int32.max)).contains(operationTimeout) else {
            throw .invalidConfiguration("operationTimeout is \(operationTimeout), outside of 1 ms to 24 days")
        }
        var result = RdKafkaConfiguration()
        try result.set(
            RdKafkaProperty.transactionTimeout,
            transactionTimeout,
            in: .seconds(1) ... .milliseconds(Int32.max),
            as: "transactionTimeout"
        )
        let own = result
        result = try effectiveProducer.rdKafka()
        for (name, value) in own.properties { result.set(name, value) }
        result.set(RdKafkaProperty.transactionalID, transactionalID)
        return result
    }
}
