public import CoreMetrics

extension KafkaConsumer {
    /// The settings of a consumer. Addresses, group and topics are required; the rest have safe values.
    public struct Configuration: Sendable {
        /// Where to find the cluster, as `host:port`; one that answers is enough (`bootstrap.servers`).
        public var bootstrapServers: [String]

        /// The group whose members share the topics' partitions, and for which offsets are committed (`group.id`). Empty for
        /// none, which takes ``partitions``.
        public var group: String

        /// Topic names; one that begins with `^` is a regular expression, and matches topics made later too, which are found
        /// after ``metadataRefreshInterval``. Empty where ``partitions`` are named.
        public var topics: [String]

        /// Partitions that this consumer reads without joining a group (`rd_kafka_assign`); empty where the group gives them
        /// out. See ``init(bootstrapServers:partitions:group:)``.
        public var partitions: [KafkaTopicPartition] = []

        /// Where a partition starts for which the group has committed nothing.
        public var autoOffsetReset: AutoOffsetReset = .beginning

        /// Where this consumer starts, whatever the group has committed. Applies to a partition's first assignment in
        /// the consumer's life; later ones go on where the group was.
        public var start: Start = .committed

        /// Where a partition begins, for applications that keep offsets themselves: in the database, in the transaction of what a
        /// message did. Called each time a partition is assigned, before anything of it is handed out; nil, the default, does
        /// not ask.
        ///
        /// ```swift
        /// configuration.startingOffset = { try await database.nextOffset(of: $0.partition) }
        /// ```
        ///
        /// What it returns is the offset of the next message to read; nil begins where the partition would begin without this
        /// (``start``). An offset that the partition does not hold leads to the end that is nearer, with
        /// ``KafkaConsumer/Event/problem(_:_:)``; with ``AutoOffsetReset/failure`` the partition fails.
        ///
        /// Where it throws, the partition is not read, ``KafkaConsumer/Event/startingOffsetFailed(_:_:retryAfter:)`` says so, and it
        /// is called again after a while: 100 ms, then twice as long each time, at most 10 s. Other partitions are not held up.
        /// When the partition is revoked meanwhile, or the consumer closed, its task is cancelled and its answer not waited for: it
        /// may still run when it is called for the next generation. Called for at most 16 partitions at a time. Each costs a
        /// question about the partition's ends, and in a group one about what is committed.
        public var startingOffset: (@Sendable (AssignedPartition) async throws -> Int64?)?

        /// Which protocol the group speaks.
        public var groupProtocol: GroupProtocol = .classic

        /// The name of the coordinator's way to divide the partitions, with ``GroupProtocol/consumer`` (`group.remote.assignor`):
        /// Kafka has `uniform` and `range`. Nil for what the coordinator prefers.
        public var remoteAssignor: String?

        /// The strategies this member offers, in order of preference. With ``GroupProtocol/classic``.
        public var assignmentStrategies: [AssignmentStrategy] = [.cooperativeSticky]

        /// A name that makes this a static member: one that comes back within the session time-out gets its partitions
        /// again without a rebalance (KIP-345, `group.instance.id`). Unique in the group.
        ///
        /// With ``AssignmentStrategy/cooperativeSticky``, a static member that is killed between being told to give
        /// partitions up and joining again without them comes back without them and without a rebalance: no member has them
        /// until the group's next one. Where that matters, use ``AssignmentStrategy/range`` or
        /// ``AssignmentStrategy/roundRobin`` in the whole group.
        ///
        /// With ``GroupProtocol/consumer``, a static member that was killed is refused while its session lasts: the consumer fails
        /// with the code `UNRELEASED_INSTANCE_ID`, and a new one is worth trying again.
        public var groupInstanceID: String?

        /// How long the group waits for a member that says nothing before its partitions go to others (`session.timeout.ms`), 1 ms
        /// to an hour; nil for librdkafka's 45 seconds. So long a member that was killed keeps its partitions.
        ///
        /// Brokers allow what is between `group.min.session.timeout.ms` (6 seconds where nothing was changed) and
        /// `group.max.session.timeout.ms` (30 minutes). One that is shorter than a broker's restart may cost the member its
        /// partitions, and what it has in hand is delivered again. With ``GroupProtocol/consumer`` the brokers decide it, and
        /// setting it is refused.
        public var sessionTimeout: Duration?

        /// How often a member says that it is there (`heartbeat.interval.ms`), 1 ms to an hour; nil for librdkafka's 3 seconds. It
        /// hears of a rebalance with the answer. A third of ``sessionTimeout`` at most; with ``GroupProtocol/consumer`` the
        /// brokers decide it, and setting it is refused.
        public var heartbeatInterval: Duration?

        /// Which messages of transactions are delivered.
        public var isolation: Isolation = .readCommitted

        /// How much is fetched ahead for each partition.
        public var prefetch = Prefetch()

        /// How long a broker may hold a fetch back while it has nothing to send (`fetch.wait.max.ms`), 0 to 5 minutes.
        ///
        /// There is one fetch at a time to each broker. While it is held back because the partitions in it have nothing
        /// new, a busy partition of that broker whose prefetch was full when it was sent waits for it. So it is short;
        /// an idle consumer asks each broker this often. A partition for which the group has committed nothing is sought, by
        /// `seek` or a ``Start`` that has to be looked up, when the answer to its first fetch is there.
        public var maximumFetchWait: Duration = .milliseconds(40)

        /// How many deliveries of one partition may be waiting for their verdict, or be settled behind one that waits, 1 or
        /// more. When it is reached nothing more is handed out of that partition until the earliest gets its verdict.
        /// One that was let go of without a verdict never does; the consumer reports a partition that stands still for
        /// that.
        public var maximumUnsettledPerPartition: Int = 10_000

        /// How long an acknowledgement may wait for others to be committed with, 1 ms or more.
        public var commitInterval: Duration = .seconds(1)

        /// How many acknowledgements are committed together at the latest, 1 or more.
        public var maximumUncommitted: Int = 10_000

        /// How long a partition that goes to another member waits for the deliveries in hand, and then at most as long for
        /// their commit. The group waits for a member no longer than its rebalance time-out (`max.poll.interval.ms`, 5 minutes),
        /// of which each takes a third at most, whatever is set here.
        public var revocationTimeout: Duration = .seconds(5)

        /// How long the application may hold a delivery, from being handed out until its verdict, before that is told as
        /// stuck: 10 ms or more; nil for as long as it takes. It is found a quarter to half of this later. Waiting for
        /// another attempt does not count, and each attempt counts for itself.
        public var handlerTimeout: Duration? = .seconds(300)

        /// What happens then.
        public var stuckHandling: StuckHandling = .report

        /// How many times processes may begin at the same committed offset, and die before they get any further, until the message
        /// that kills them is looked for; nil, the default, does not count, and costs nothing. Less than 2 counts as 2: a machine
        /// may fail once without a message's fault. With dead letters `forEach` and its relatives make the message one, with a
        /// ``KafkaPoisonMessage`` as its error; in a loop of your own ``Delivery/crashes`` says it.
        ///
        /// A crash that a message causes (a trap, `abort()`, memory that runs out) gives no verdict, and the next owner of the
        /// partition is handed the same message. So each assignment commits the number of crashes beside the offset, before its
        /// first message is handed out, and progress or an orderly end clears it. After too many the consumer hands out one message
        /// at a time, of all its partitions, and commits which before it does so: the next process knows which one it was. It looks
        /// among the first 64 messages, for after the first crash no more than that are handed out beyond what is committed.
        ///
        /// What it costs: one commit for each partition's assignment, and a pause of about a round trip before its first message.
        /// What it cannot see: a handler that settles its delivery and brings the process down later. A process that is killed
        /// from outside while messages are probed is taken for killed by the one in hand; its dead letter says so, and can be
        /// sent again. The broker has to keep texts with offsets (`offset.metadata.max.bytes`, 4,096 where it was not changed);
        /// where it does not, that is reported (``KafkaConsumer/Event/problem(_:_:)``) and nothing is counted.
        ///
        /// Needs a group, and ``Start/committed``.
        public var maximumCrashes: Int?

        /// How often to ask the brokers which topics and partitions there are (`topic.metadata.refresh.interval.ms`), 10 ms to an
        /// hour: how soon topics that match a regular expression, partitions that were added, and named ``partitions`` that did
        /// not exist are found. librdkafka's own default is 5 minutes. With a regular expression each question is about all
        /// topics of the cluster.
        public var metadataRefreshInterval: Duration = .seconds(30)

        /// The name the brokers log and account this client under (`client.id`).
        public var clientID: String = "kafka-delivery"

        /// Where metrics go (<doc:Metrics>); nil for the backend that the process has bootstrapped when the client is made.
        public var metricsFactory: (any MetricsFactory)?

        /// How often metrics are brought up to date; tests wait for that.
        package var metricsInterval: Duration = .seconds(5)

        /// How connections are encrypted and authenticated.
        public var security: KafkaSecurity = .plaintext

        /// How long ``KafkaConsumer/run()`` and the end of ``withKafkaConsumer(_:logger:_:)`` may take.
        public var closeTimeout: Duration = .seconds(30)

        /// librdkafka's other properties, by the names its CONFIGURATION.md has. Those that the library's promises rest
        /// on are refused.
        public var additionalProperties = KafkaAdditionalProperties()

        /// Set by `FaultRelay.route` of KafkaDeliveryTesting.
        package var route: ConnectionRoute?

        /// The safe settings for a group that reads some topics.
        public init(bootstrapServers: [String], group: String, topics: [String]) {
            self.bootstrapServers = bootstrapServers
            self.group = group
            self.topics = topics
        }

        /// The safe settings for reading partitions that are named, without joining a group: no member takes them away,
        /// there are no rebalances, and other consumers that read them read all of them too.
        ///
        /// Those that do not exist are told (``KafkaConsumer/Event/problem(_:_:)`` of kind `unknownTopicOrPartition`, once), and
        /// read when they do, which is looked for every ``metadataRefreshInterval``; loops wait for them, and go on with the
        /// others.
        ///
        /// Without a group nothing is committed: an acknowledgement makes room for more deliveries, and that is all;
        /// ``KafkaConsumer/commit()`` throws. ``start`` and ``autoOffsetReset`` say where to begin, each time.
        ///
        /// With one, what is acknowledged is committed for it, and a consumer goes on there. The group must not have
        /// members: while it has, the brokers refuse the commits of others, which shows as
        /// ``KafkaConsumer/Event/commitFailed(_:_:)``, and they are tried again every few seconds.
        public init(bootstrapServers: [String], partitions: [KafkaTopicPartition], group: String? = nil) {
            self.bootstrapServers = bootstrapServers
            self.group = group ?? ""
            self.topics = []
            self.partitions = partitions
        }
    }
}
