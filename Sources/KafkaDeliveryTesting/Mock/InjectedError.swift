extension MockCluster {
    /// What a mock broker answers in place of doing what it was asked: an error code of Kafka's protocol, or no answer
    /// at all (``disconnect``).
    ///
    /// The common ones have names. ``init(code:)`` makes any other.
    public struct InjectedError: Hashable, Sendable, CustomStringConvertible {
        /// The error code as it goes over the wire.
        public let code: Int

        /// An error by its number in Kafka's protocol. Error codes are 16 bits wide; a number that is wider becomes
        /// the nearest that is not.
        public init(code: Int) {
            self.code = Int(Int16(clamping: code))
        }

        /// librdkafka's name of the error and its code: `NOT_ENOUGH_REPLICAS (19)`.
        public var description: String {
            "\(MockBrokers.name(ofError: code)) (\(code))"
        }
    }
}

// MARK: - Nothing and everything

extension MockCluster.InjectedError {
    /// No error: the request is answered as usual. Useful between two errors, and with a delay.
    public static let none = Self(code: 0)

    /// Not an answer: the broker closes the connection without having done what was asked. The client sees
    /// `_TRANSPORT` and cannot know. A delay has no effect on it.
    public static let disconnect = Self(code: -195)

    /// `UNKNOWN`: the broker failed and does not say why.
    public static let unknown = Self(code: -1)
}

// MARK: - Producing

extension MockCluster.InjectedError {
    /// `INVALID_MSG`: a batch whose checksum is wrong.
    public static let corruptMessage = Self(code: 2)

    /// `UNKNOWN_TOPIC_OR_PART`: there is no such topic or partition here. Clients ask again.
    public static let unknownTopicOrPartition = Self(code: 3)

    /// `LEADER_NOT_AVAILABLE`: a leader is being elected. Clients ask again.
    public static let leaderNotAvailable = Self(code: 5)

    /// `NOT_LEADER_FOR_PARTITION`: another broker leads the partition. Clients look for it.
    public static let notLeaderForPartition = Self(code: 6)

    /// `REQUEST_TIMED_OUT`: the replicas did not confirm in time. The messages may be stored.
    public static let requestTimedOut = Self(code: 7)

    /// `MSG_SIZE_TOO_LARGE`: larger than the broker's limit. Not worth a retry.
    public static let messageTooLarge = Self(code: 10)

    /// A message's timestamp is too far from the broker's clock. The message is not stored, nor is its batch.
    public static let invalidTimestamp = Self(code: 32)

    /// A message is not possible in its topic, as one without a key in a compacted topic. It is not stored, nor is its batch.
    public static let invalidRecord = Self(code: 87)

    /// `NOT_ENOUGH_REPLICAS`: fewer replicas in sync than `min.insync.replicas`. Nothing was stored.
    public static let notEnoughReplicas = Self(code: 19)

    /// `NOT_ENOUGH_REPLICAS_AFTER_APPEND`: as above, noticed after the messages were stored.
    public static let notEnoughReplicasAfterAppend = Self(code: 20)

    /// `KAFKA_STORAGE_ERROR`: the broker's disk failed.
    public static let storageError = Self(code: 56)

    /// `THROTTLING_QUOTA_EXCEEDED`: the client is over its quota.
    public static let throttlingQuotaExceeded = Self(code: 89)
}

// MARK: - Fetching

extension MockCluster.InjectedError {
    /// `OFFSET_OUT_OF_RANGE`: the offset is not, or no longer, in the partition.
    public static let offsetOutOfRange = Self(code: 1)
}

// MARK: - Groups

extension MockCluster.InjectedError {
    /// `COORDINATOR_LOAD_IN_PROGRESS`: the coordinator is reading its state. Clients ask again.
    public static let coordinatorLoading = Self(code: 14)

    /// `COORDINATOR_NOT_AVAILABLE`: there is no coordinator at the moment. Clients ask again.
    public static let coordinatorNotAvailable = Self(code: 15)

    /// `NOT_COORDINATOR`: another broker is the coordinator. Clients look for it.
    public static let notCoordinator = Self(code: 16)

    /// `ILLEGAL_GENERATION`: the group has rebalanced since.
    public static let illegalGeneration = Self(code: 22)

    /// `INCONSISTENT_GROUP_PROTOCOL`: the group's members have no assignment strategy in common with the member that joins, or use another protocol.
    public static let inconsistentGroupProtocol = Self(code: 23)

    /// `INVALID_SESSION_TIMEOUT`: the brokers do not allow a session time-out like the member's.
    public static let invalidSessionTimeout = Self(code: 26)

    /// `UNKNOWN_MEMBER_ID`: the group does not know this member, for instance because its session timed out.
    public static let unknownMember = Self(code: 25)

    /// `REBALANCE_IN_PROGRESS`: the group is rebalancing. The member has to join again.
    public static let rebalanceInProgress = Self(code: 27)

    /// `FENCED_INSTANCE_ID`: another member has taken this `group.instance.id`. Fatal to the consumer.
    public static let fencedInstance = Self(code: 82)
}

// MARK: - Idempotence and transactions

extension MockCluster.InjectedError {
    /// `OUT_OF_ORDER_SEQUENCE_NUMBER`: a batch before this one is missing.
    public static let outOfOrderSequence = Self(code: 45)

    /// `DUPLICATE_SEQUENCE_NUMBER`: the batch is stored already. Clients count that as success.
    public static let duplicateSequence = Self(code: 46)

    /// `INVALID_PRODUCER_EPOCH`: a newer producer has the same transactional id (older brokers say it so).
    public static let invalidProducerEpoch = Self(code: 47)

    /// `INVALID_TXN_STATE`: the transaction is not in a state that allows the request.
    public static let invalidTransactionState = Self(code: 48)

    /// `INVALID_PRODUCER_ID_MAPPING`: the producer id and the transactional id do not belong together.
    public static let invalidProducerIDMapping = Self(code: 49)

    /// `CONCURRENT_TRANSACTIONS`: the previous transaction is still being completed. Clients ask again.
    public static let concurrentTransactions = Self(code: 51)

    /// `TRANSACTION_COORDINATOR_FENCED`: the coordinator has been replaced.
    public static let transactionCoordinatorFenced = Self(code: 52)

    /// `UNKNOWN_PRODUCER_ID`: the partition remembers nothing of this producer.
    public static let unknownProducerID = Self(code: 59)

    /// `PRODUCER_FENCED`: a newer producer has the same transactional id.
    public static let producerFenced = Self(code: 90)
}

// MARK: - Authorization

extension MockCluster.InjectedError {
    /// `TOPIC_AUTHORIZATION_FAILED`: the client may not use the topic.
    public static let topicAuthorizationFailed = Self(code: 29)

    /// `GROUP_AUTHORIZATION_FAILED`: the client may not use the group.
    public static let groupAuthorizationFailed = Self(code: 30)

    /// `CLUSTER_AUTHORIZATION_FAILED`: the client may not use the cluster in this way.
    public static let clusterAuthorizationFailed = Self(code: 31)

    /// `TRANSACTIONAL_ID_AUTHORIZATION_FAILED`: the client may not use the transactional id.
    public static let transactionalIDAuthorizationFailed = Self(code: 53)
}
