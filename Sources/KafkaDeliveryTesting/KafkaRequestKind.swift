/// The kinds of request that a mock cluster injects errors into, and whose answers a relay loses, by their names in Kafka's
/// protocol.
///
/// `Metadata` is not among them, because the mock brokers never look for an injected error when they answer it:
/// use ``MockCluster/setError(_:forTopic:)``.
public enum KafkaRequestKind: Hashable, Sendable, CaseIterable {
    /// `Produce`: messages from a producer.
    case produce
    /// `Fetch`: a consumer asks for messages.
    case fetch
    /// `ListOffsets`: where a partition begins and ends.
    case listOffsets
    /// `OffsetCommit`: a group stores its offsets.
    case offsetCommit
    /// `OffsetFetch`: a group asks for its stored offsets.
    case offsetFetch
    /// `FindCoordinator`: which broker coordinates a group or a transactional id.
    case findCoordinator
    /// `JoinGroup`: a consumer enters a group, or answers a rebalance.
    case joinGroup
    /// `Heartbeat`: a group's member is alive.
    case heartbeat
    /// `LeaveGroup`: a group's member leaves.
    case leaveGroup
    /// `SyncGroup`: a group's member asks for its partitions.
    case syncGroup
    /// `ApiVersions`: which versions of which requests a broker understands. The first request of a connection.
    case apiVersions
    /// `InitProducerId`: an idempotent or transactional producer asks for its identity.
    case initProducerID
    /// `AddPartitionsToTxn`: partitions join a transaction.
    case addPartitionsToTransaction
    /// `AddOffsetsToTxn`: a group's offsets join a transaction.
    case addOffsetsToTransaction
    /// `EndTxn`: a transaction is committed or aborted.
    case endTransaction
    /// `TxnOffsetCommit`: a group's offsets, inside a transaction.
    case transactionOffsetCommit
    /// `ConsumerGroupHeartbeat`: a member of a group of the consumer protocol joins, is alive, or leaves (KIP-848).
    case consumerGroupHeartbeat

    /// The number of the request in Kafka's protocol (its API key).
    public var apiKey: Int16 {
        switch self {
        case .produce: 0
        case .fetch: 1
        case .listOffsets: 2
        case .offsetCommit: 8
        case .offsetFetch: 9
        case .findCoordinator: 10
        case .joinGroup: 11
        case .heartbeat: 12
        case .leaveGroup: 13
        case .syncGroup: 14
        case .apiVersions: 18
        case .initProducerID: 22
        case .addPartitionsToTransaction: 24
        case .addOffsetsToTransaction: 25
        case .endTransaction: 26
        case .transactionOffsetCommit: 28
        case .consumerGroupHeartbeat: 68
        }
    }
}
