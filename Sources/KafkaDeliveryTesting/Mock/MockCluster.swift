internal import Dispatch

/// A Kafka cluster inside your test: brokers on loopback ports that speak the Kafka protocol and fail when told to.
///
/// Any number of clients can use it, in this process or outside it, and of any language. It starts in milliseconds,
/// needs nothing to be installed beside librdkafka, and two clusters know nothing of each other, so that tests can
/// run in parallel.
///
/// ```swift
/// import KafkaDelivery
/// import KafkaDeliveryTesting
/// import Testing
///
/// @Test func anOrderSurvivesABrokerThatIsShortOfReplicas() async throws {
///     let cluster = try MockCluster()
///     try cluster.createTopic("orders", partitions: 3)
///     try cluster.inject([.notEnoughReplicas, .notEnoughReplicas], into: .produce)
///
///     let producer = try KafkaProducer(.init(bootstrapServers: cluster.bootstrapServers))
///     let report = try await producer.send(KafkaMessage(topic: "orders", key: "42", value: "{}"))
///     #expect(report.offset == 0)
///
///     await producer.close(within: .seconds(5))
///     await cluster.shutdown()
/// }
/// ```
///
/// The brokers are librdkafka's (`rdkafka_mock.h`), numbered from 1. They do producing, fetching, groups with
/// rebalances and commits, and the requests of a transaction.
///
/// ## What it does not do
///
/// This is how librdkafka 2.0.2 behaves. Newer versions do more.
///
/// - A partition keeps its newest 5 MiB or 100,000 batches. What is older is dropped, read or not.
/// - A group's first join waits 3 s for more members, and every later join or departure waits for the session timeout
///   less 1 s. Give consumers under test a `sessionTimeout` of 4 seconds: with 45, which is the default, a
///   rebalance takes 44 s, and with 3,000 or less the first member times out while it waits, and is never answered.
/// - Groups of the consumer protocol (KIP-848) are there with librdkafka 2.12 or newer: heartbeats every 100 ms, and a session
///   time-out of 6 s.
/// - Do not let connections of a group's members break while they join, as a ``FaultRelay`` can: 2.0.2 ends the process
///   where a member joins again before the broker has noticed that the connection of its unanswered join is gone.
/// - The members of a group must prefer the same assignment strategy: 2.0.2 ends the process where two differ.
///   `group.instance.id` is accepted and has no effect.
/// - A fetch that finds nothing is answered after the consumer's whole `fetch.wait.max.ms`, even where a message
///   arrives meanwhile, and a fetch returns one batch of a partition. Consumers under test react sooner with a
///   `fetch.wait.max.ms` of 10 or so.
/// - A topic that a client asks for and that does not exist is created with 4 partitions, whatever the client's
///   `allow.auto.create.topics` says. ``setError(_:forTopic:)`` makes a topic that is missing. The Admin API is not
///   there: use ``createTopic(_:partitions:replicationFactor:)``.
/// - Offsets are not found by timestamp, a delivery report's timestamp is always 1,234, and there is no replication:
///   a replication factor changes nothing.
/// - Sequence numbers are not checked as Kafka does it: an idempotent producer that sends a batch a second time has it
///   stored a second time. And where a batch fails and the one behind it is stored, which a real broker refuses,
///   librdkafka takes the first for stored as well: such a send is confirmed without an offset
///   (`KafkaDeliveryReport.hasOffset`), and the message may be nowhere. Ask for ``init(brokers:checksSequences:)`` where
///   confirmations may get lost, or brokers fail.
/// - Transactions end without a trace in the log: aborted messages are visible to `read_committed`, offsets sent in
///   a transaction are not stored, and a producer is fenced only by an injected error.
/// - No compaction, no retention by time, no authentication, no TLS.
///
/// ## Threads
///
/// Every method can be called from any thread. Calls wait for the cluster's own thread to answer, which takes
/// microseconds (and, while all brokers are down, now and then a second); ``shutdown()`` takes longer, and does so
/// off Swift's cooperative pool.
public final class MockCluster: Sendable {
    /// How many brokers a cluster can have.
    public static let maximumBrokers = 64

    /// The addresses to give to clients, one a broker, in the order of ``brokers``: `["127.0.0.1:40123", …]`.
    /// A broker keeps its address when it goes down and comes back.
    public let bootstrapServers: [String]

    /// The numbers of the brokers: 1 up to and including how many there are.
    public let brokers: ClosedRange<Int>

    let mock: MockBrokers
    /// Where sequence numbers are checked.
    private let front: MockFront?

    /// Destroying joins librdkafka's threads, which must not happen on a thread of Swift's cooperative pool. The
    /// queue is serial, so that a second ``shutdown()`` returns after the first has finished, too.
    private let destroyer = DispatchQueue(label: "KafkaDeliveryTesting.MockCluster.destroyer")

    /// Starts a cluster. It runs until ``shutdown()`` or until the last reference to it is gone.
    ///
    /// - Parameters:
    ///   - brokers: how many brokers, from 1 to ``maximumBrokers``.
    ///   - checksSequences: whether batches of idempotent and transactional producers are stored once and in order,
    ///     however often they are sent (KIP-98), as Kafka's brokers do and librdkafka's mock does not. The check is this
    ///     module's own, in a port before each broker that remembers the last five batches of each producer in each
    ///     partition, and answers one that is stored already with the offset it has. A partition then takes one batch of
    ///     an idempotent producer at a time, and a broker that is down closes connections rather than refusing them. A
    ///     batch that is under way when the *broker* closes the connection (``takeDown(broker:)``,
    ///     ``InjectedError/disconnect``) counts as not stored; so does one that is answered with an injected error, and
    ///     the batches behind it are out of order, which a producer survives where the error says that nothing was stored.
    /// - Throws: ``Failure`` with the reason ``Failure/Reason/invalidArgument`` where the number is out of range,
    ///   and ``Failure/Reason/librdkafka`` where librdkafka cannot start it.
    public init(brokers: Int = 1, checksSequences: Bool = false) throws(Failure) {
        guard (1...Self.maximumBrokers).contains(brokers) else {
            throw .invalid("Ask for 1 to \(Self.maximumBrokers) brokers: \(brokers) is out of range.")
        }
        let mock = try MockBrokers(count: brokers)
        let front = checksSequences ? try MockFront(mock.bootstrapServers) : nil
        self.mock = mock
        self.front = front
        self.brokers = 1...brokers
        self.bootstrapServers = front?.bootstrapServers ?? mock.bootstrapServers
    }

    deinit {
        front?.stop()
        // Not here: the last reference may be dropped on the cooperative pool.
        destroyer.async { [mock] in mock.destroy() }
    }

    /// Ends the cluster: closes all connections and frees its memory. Returns when that is done, which in librdkafka
    /// 2.0.2 takes up to a second. Afterwards every other method throws a ``Failure`` with the reason
    /// ``Failure/Reason/shutDown``; a second call changes nothing.
    ///
    /// Not needed where a test merely ends, since the last reference ends the cluster as well, and no task waits for
    /// it. Close clients first: they would otherwise go on looking for their brokers.
    public func shutdown() async {
        await withCheckedContinuation { continuation in
            destroyer.async { [mock, front] in
                front?.stop()
                mock.destroy()
                continuation.resume()
            }
        }
    }
}
