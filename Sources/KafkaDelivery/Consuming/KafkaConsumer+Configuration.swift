public import CoreMetrics

extension KafkaConsumer {
    /// The settings of a consumer. Addresses, group and topics are required; the rest have safe values.
    public struct Configuration: Sendable {
        /// Where a partition starts for which the group has committed nothing, or something that is no longer there
        /// (`auto.offset.reset`).
        public enum AutoOffsetReset: String, Sendable {
            /// The oldest message there is: nothing is missed.
            case beginning = "earliest"
            /// What is sent from now on.
            case end = "latest"
            /// Nowhere: the consumer fails with ``KafkaError/Kind/offsetOutOfRange``.
            case failure = "error"
        }

        /// Where a partition starts when this consumer is assigned it for the first time.
        public enum Start: Sendable, Hashable {
            /// Where the group has committed.
            case committed
            /// At the oldest message there is.
            case beginning
            /// At what is sent from now on.
            case end
            /// At an offset. A partition that ends before it starts at its end, one that begins behind it at its beginning, and
            /// ``KafkaConsumer/Event/problem(_:_:)`` with `offsetOutOfRange` says so for each; with ``AutoOffsetReset/failure``
            /// the consumer fails.
            case offset(Int64)
            /// So many offsets before the end, 0 or more: at the last messages that there are. Control records of transactions
            /// and compaction leave gaps in offsets, so there may be fewer messages.
            case last(Int64)
            /// At the first message that is not older.
            case timestamp(KafkaTimestamp)
        }

        /// Which protocol a group speaks (`group.protocol`). All members of a group should speak the same; a running group
        /// moves from one to the other by replacing its members one by one.
        public enum GroupProtocol: String, Sendable {
            /// A member divides the partitions (``assignmentStrategies``), and the group waits for its slowest member whenever
            /// one joins or leaves. Any Kafka and any librdkafka speak it.
            case classic
            /// The group's coordinator divides the partitions, and moves them one by one, while all members go on with the rest
            /// (KIP-848). Kafka 4.0 and librdkafka 2.12.0, or newer; with an older librdkafka it is refused when the consumer is
            /// made, with an older Kafka the consumer fails.
            ///
            /// Session time-out and heartbeats are the coordinator's, too (`group.consumer.session.timeout.ms`,
            /// `group.consumer.heartbeat.interval.ms`), and setting them here is refused. A topic that is a regular expression is
            /// matched by the broker, with the syntax of RE2/J.
            ///
            /// A member of which the brokers hear nothing for that time is out of the group and learns of it when it hears of them
            /// again; until then it hands out what it has fetched. One that has no partitions is not told so
            /// (``KafkaConsumer/Event/assigned(_:generation:)`` with none).
            case consumer
        }

        /// How the group divides partitions among its members (`partition.assignment.strategy`).
        public enum AssignmentStrategy: String, Sendable {
            /// Each topic's partitions in ranges.
            case range
            /// All partitions in turn.
            case roundRobin = "roundrobin"
            /// Balanced, keeping what can be kept: only the partitions that move are revoked (KIP-429). Cannot be
            /// combined with the others.
            case cooperativeSticky = "cooperative-sticky"
        }

        /// Which messages of transactions are delivered (`isolation.level`).
        public enum Isolation: String, Sendable {
            /// Those of committed transactions, and those sent outside of any.
            case readCommitted = "read_committed"
            /// All, those of aborted transactions too.
            case readUncommitted = "read_uncommitted"
        }

        /// What happens to a delivery that is in hand for longer than ``handlerTimeout``.
        public enum StuckHandling: String, Sendable {
            /// It is told: ``KafkaConsumer/Event/stuck(_:for:)`` and a log line. The partition waits.
            case report
            /// That, and the consumer leaves its group, so that other members take its partitions: the message is delivered
            /// to one of them. What other deliveries in hand come to is waited for and committed, as in every revocation;
            /// verdicts of the stuck one change nothing any more.
            ///
            /// When the application holds nothing any longer of what was stuck, because its handler ended or let go of it, the consumer joins
            /// again. Until then it receives nothing; where its handler never ends, that is for good. A member of the
            /// classic group protocol cannot give up one partition and keep others, for the group would give it back.
            /// A static member (``groupInstanceID``) keeps its partitions until ``sessionTimeout`` has passed.
            /// A consumer of named ``partitions`` has no group to leave.
            case leaveGroup
        }

        /// How much is fetched ahead of the application, for each partition. Reaching either bound stops fetching that
        /// partition until half of it is read; one fetch more (at most half of ``maximumBytes``) may be on its way.
        public struct Prefetch: Sendable, Hashable {
            /// Messages, 1 to 10,000,000 (`queued.min.messages`).
            public var maximumMessages: Int

            /// Bytes of keys and values, 1 KiB to 1 GiB, in whole KiB (`queued.max.messages.kbytes`; half of it is what
            /// one fetch may bring, `fetch.message.max.bytes`). A message that is larger is still fetched.
            public var maximumBytes: Int

            /// Bounds for each partition. With the defaults a consumer of 100 partitions holds at most 150 MiB of
            /// messages.
            public init(maximumMessages: Int = 10_000, maximumBytes: Int = 1 << 20) {
                self.maximumMessages = maximumMessages
                self.maximumBytes = maximumBytes
            }
        }

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
        /// an idle consumer asks each broker this often.
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

extension KafkaConsumer.Configuration {
    /// `max.poll.interval.ms` as it will be: the library has no setting for it, and its thread keeps well within.
    var maximumPollInterval: Duration {
        let given = additionalProperties[RdKafkaProperty.maximumPollInterval].flatMap { Int64($0) } ?? 300_000
        return .milliseconds(max(given, 1))
    }

    /// ``revocationTimeout``, within what the group waits for a member.
    var revocationLimit: Duration { min(revocationTimeout, maximumPollInterval / 3) }

    /// Whether there is a group to commit for.
    var hasGroup: Bool { !group.isEmpty }

    /// Whether the group gives the partitions out.
    var joinsGroup: Bool { partitions.isEmpty }

    func rdKafka() throws(KafkaError) -> RdKafkaConfiguration {
        typealias Property = RdKafkaProperty
        var result = RdKafkaConfiguration()
        try result.setCommon(bootstrapServers: bootstrapServers, clientID: clientID, security: security)
        result.route = route
        try validate()

        // librdkafka assigns nothing to a client without a group, so it gets one that never has a member.
        result.set(Property.group, hasGroup ? group : "kafka-delivery-without-a-group")
        if let groupInstanceID { result.set(Property.groupInstance, groupInstanceID) }
        result.set(Property.automaticCommit, false)
        result.set(Property.automaticOffsetStore, false)
        result.set(Property.offsetReset, autoOffsetReset.rawValue)
        if groupProtocol == .classic {
            result.set(Property.assignmentStrategy, assignmentStrategies.map(\.rawValue).joined(separator: ","))
        } else {
            result.set(Property.groupProtocol, groupProtocol.rawValue)
            if let remoteAssignor { result.set(Property.remoteAssignor, remoteAssignor) }
        }
        if let sessionTimeout {
            try result.set(
                Property.sessionTimeout,
                sessionTimeout,
                in: .milliseconds(1) ... .seconds(3_600),
                as: "sessionTimeout"
            )
        }
        if let heartbeatInterval {
            try result.set(
                Property.heartbeatInterval,
                heartbeatInterval,
                in: .milliseconds(1) ... .seconds(3_600),
                as: "heartbeatInterval"
            )
        }
        result.set(Property.isolation, isolation.rawValue)
        result.set(Property.partitionEnd, true)
        try result.set(
            Property.prefetchMessages,
            prefetch.maximumMessages,
            in: 1...10_000_000,
            as: "prefetch.maximumMessages"
        )
        guard (1 << 10...1 << 30).contains(prefetch.maximumBytes) else {
            throw .invalidConfiguration("prefetch.maximumBytes is \(prefetch.maximumBytes), outside of 1 KiB to 1 GiB")
        }
        result.set(Property.prefetchKilobytes, prefetch.maximumBytes >> 10)
        result.set(Property.fetchPartitionBytes, prefetch.maximumBytes / 2)
        try result.set(
            Property.fetchWait,
            maximumFetchWait,
            in: .zero ... .seconds(300),
            as: "maximumFetchWait"
        )
        try result.set(
            Property.metadataRefresh,
            metadataRefreshInterval,
            in: .milliseconds(10) ... .seconds(3_600),
            as: "metadataRefreshInterval"
        )
        try result.add(additionalProperties, for: .consumer)
        return result
    }

    private func validate() throws(KafkaError) {
        if joinsGroup {
            guard hasGroup else { throw .invalidConfiguration("group is empty") }
            guard !topics.isEmpty else { throw .invalidConfiguration("topics is empty: one or more names are needed") }
            var seen: Set<String> = []
            for topic in topics {
                if let fault = TopicName.fault(ofSubscription: topic) {
                    throw .invalidConfiguration("topics: \(fault)")
                }
                guard seen.insert(topic).inserted else {
                    throw .invalidConfiguration("topics: \"\(topic)\" is in it more than once")
                }
            }
        } else {
            try validatePartitions()
        }
        guard group.isEmpty || !group.allSatisfy(\.isWhitespace) else {
            throw .invalidConfiguration("group is \"\(group)\": a name is needed")
        }
        if let groupInstanceID, groupInstanceID.allSatisfy(\.isWhitespace) {
            throw .invalidConfiguration("groupInstanceID is \"\(groupInstanceID)\": a name is needed, or nil")
        }
        guard !assignmentStrategies.isEmpty else { throw .invalidConfiguration("assignmentStrategies is empty") }
        guard assignmentStrategies.count == 1 || !assignmentStrategies.contains(.cooperativeSticky) else {
            throw .invalidConfiguration("assignmentStrategies: cooperativeSticky cannot be combined with others")
        }
        try validateGroupProtocol(on: .current)
        if case .offset(let offset) = start, offset < 0 {
            throw .invalidConfiguration("start is offset \(offset), less than 0")
        }
        if case .last(let count) = start, count < 0 {
            throw .invalidConfiguration("start is the last \(count) offsets, less than 0")
        }
        guard maximumUnsettledPerPartition >= 1 else {
            throw .invalidConfiguration("maximumUnsettledPerPartition is \(maximumUnsettledPerPartition), less than 1")
        }
        guard maximumUncommitted >= 1 else {
            throw .invalidConfiguration("maximumUncommitted is \(maximumUncommitted), less than 1")
        }
        if let handlerTimeout, handlerTimeout < .milliseconds(10) {
            throw .invalidConfiguration("handlerTimeout is \(handlerTimeout), less than 10 ms")
        }
        guard joinsGroup || stuckHandling == .report else {
            throw .invalidConfiguration(
                "stuckHandling is leaveGroup, and a consumer of named partitions is in no group"
            )
        }
        if maximumCrashes != nil {
            guard hasGroup else {
                throw .invalidConfiguration("maximumCrashes counts beside the group's offsets, and there is no group")
            }
            guard start == .committed else {
                throw .invalidConfiguration(
                    "maximumCrashes counts at the committed offset, and the consumer's start is \(start)"
                )
            }
        }
        guard commitInterval >= .milliseconds(1) else {
            throw .invalidConfiguration("commitInterval is \(commitInterval), less than 1 ms")
        }
        guard revocationTimeout >= .zero, closeTimeout >= .zero else {
            throw .invalidConfiguration("revocationTimeout and closeTimeout cannot be less than zero")
        }
    }

    /// Refuses what contradicts the group's protocol, and a protocol that this librdkafka does not speak.
    func validateGroupProtocol(on librdkafka: LibrdkafkaVersion) throws(KafkaError) {
        guard groupProtocol == .consumer else {
            guard remoteAssignor == nil else {
                throw .invalidConfiguration("remoteAssignor is set: it needs groupProtocol to be consumer")
            }
            return
        }
        guard Quirks(librdkafka).hasConsumerGroupProtocol else {
            throw .invalidConfiguration(
                "groupProtocol is consumer, which needs librdkafka 2.12.0 or newer: this is \(librdkafka)"
            )
        }
        guard joinsGroup else {
            throw .invalidConfiguration("groupProtocol is consumer, and a consumer of named partitions joins no group")
        }
        guard assignmentStrategies == [.cooperativeSticky] else {
            throw .invalidConfiguration(
                "assignmentStrategies is set, and with groupProtocol consumer the coordinator divides: use remoteAssignor"
            )
        }
        guard remoteAssignor?.isEmpty != true else { throw .invalidConfiguration("remoteAssignor is empty") }
        guard sessionTimeout == nil else {
            throw .invalidConfiguration(
                "sessionTimeout is set, and with groupProtocol consumer the brokers decide it, with "
                    + "group.consumer.session.timeout.ms"
            )
        }
        guard heartbeatInterval == nil else {
            throw .invalidConfiguration(
                "heartbeatInterval is set, and with groupProtocol consumer the brokers decide it, with "
                    + "group.consumer.heartbeat.interval.ms"
            )
        }
        for (name, instead) in RdKafkaProperty.classicGroupOnly.sorted(by: { $0.key < $1.key })
        where additionalProperties[name] != nil {
            throw .invalidConfiguration("\(name) is set, and with groupProtocol consumer \(instead)")
        }
    }

    private func validatePartitions() throws(KafkaError) {
        guard topics.isEmpty else {
            throw .invalidConfiguration("topics and partitions are set: it can be either, not both")
        }
        for partition in partitions {
            if let fault = partition.fault { throw .invalidConfiguration("partitions: \(fault)") }
        }
        guard groupInstanceID == nil else {
            throw .invalidConfiguration("groupInstanceID is set, and a consumer of named partitions joins no group")
        }
        if !hasGroup, start == .committed, autoOffsetReset == .failure {
            throw .invalidConfiguration("autoOffsetReset is failure, and without a group nothing is committed")
        }
    }
}
