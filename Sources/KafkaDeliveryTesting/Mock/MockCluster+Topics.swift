extension MockCluster {
    /// How many partitions a topic can have.
    public static let maximumPartitions = 1_000

    /// Creates a topic. Its partitions are led by the brokers in turn: partition 0 by broker 1, partition 1 by
    /// broker 2, and so on.
    ///
    /// - Parameters:
    ///   - topic: 1 to 249 ASCII letters, digits, `.`, `_` and `-`, as in Kafka, and not `.` or `..`.
    ///   - partitions: how many, from 1 to ``maximumPartitions``.
    ///   - replicationFactor: from 1 to the number of brokers. It is checked so that a test does not ask for what
    ///     Kafka would refuse; librdkafka 2.0.2 makes nothing of it.
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/topicExists`` where there is such a topic,
    ///   ``Failure/Reason/invalidArgument``, or ``Failure/Reason/shutDown``.
    public func createTopic(
        _ topic: String,
        partitions: Int = 1,
        replicationFactor: Int = 1
    ) throws(Failure) {
        try checkTopic(topic)
        guard (1...Self.maximumPartitions).contains(partitions) else {
            throw .invalid("Ask for 1 to \(Self.maximumPartitions) partitions: \(partitions) is out of range.")
        }
        guard brokers.contains(replicationFactor) else {
            throw .invalid(
                "Ask for 1 to \(brokers.upperBound) replicas, as there are so many brokers: "
                    + "\(replicationFactor) is out of range."
            )
        }
        try mock.createTopic(topic, partitions: partitions, replicationFactor: replicationFactor)
        // librdkafka draws the leaders by lot from the first three brokers. A test that takes a broker down has to
        // know what that broker led.
        if brokers.count > 1 {
            for partition in 0..<partitions {
                try mock.setLeader(
                    topic: topic,
                    partition: partition,
                    broker: brokers.lowerBound + partition % brokers.count
                )
            }
        }
    }

    /// Makes another broker, or none, the leader of a partition. Clients learn of it when the broker they took for
    /// the leader refuses them.
    ///
    /// - Parameters:
    ///   - topic: the topic. It is created, up to this partition, where it does not exist.
    ///   - partition: the partition, from 0.
    ///   - broker: the new leader, or `nil` to leave the partition without one.
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/unknownPartition``,
    ///   ``Failure/Reason/invalidArgument``, or ``Failure/Reason/shutDown``.
    public func moveLeader(topic: String, partition: Int, to broker: Int?) throws(Failure) {
        try checkTopic(topic)
        // librdkafka uses the number as an index without a look at its sign.
        guard (0..<Self.maximumPartitions).contains(partition) else {
            throw .invalid("Name a partition from 0 to \(Self.maximumPartitions - 1), not \(partition).")
        }
        if let broker {
            try checkBroker(broker)
        }
        try mock.setLeader(topic: topic, partition: partition, broker: broker)
    }

    /// Makes the brokers answer every question about a topic with an error, until told otherwise: metadata requests
    /// and `AddPartitionsToTxn`.
    ///
    /// With ``InjectedError/unknownTopicOrPartition`` the topic is missing, which on a mock cluster it otherwise
    /// never is, because asking for a topic creates it.
    ///
    /// - Parameters:
    ///   - error: the error, or ``InjectedError/none`` to take it back.
    ///   - topic: the topic. It is created with 4 partitions where it does not exist.
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument`` or ``Failure/Reason/shutDown``.
    public func setError(_ error: InjectedError, forTopic topic: String) throws(Failure) {
        try checkTopic(topic)
        try mock.setError(code: error.code, topic: topic)
    }

    func checkBroker(_ broker: Int) throws(Failure) {
        guard brokers.contains(broker) else {
            throw .invalid("Name a broker from 1 to \(brokers.upperBound): there is no broker \(broker).")
        }
    }

    /// The mock brokers would take any name. Kafka does not, and a test should not pass here and fail there.
    private func checkTopic(_ topic: String) throws(Failure) {
        let isLegal = topic.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default:
                false
            }
        }
        guard isLegal, (1...249).contains(topic.utf8.count), topic != ".", topic != ".." else {
            throw .invalid(
                "Name the topic with 1 to 249 ASCII letters, digits, '.', '_' and '-': Kafka refuses '\(topic)'."
            )
        }
    }
}
