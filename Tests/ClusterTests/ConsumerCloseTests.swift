import KafkaDelivery
import KafkaDeliveryTesting
import ServiceLifecycle
import Testing

/// Closing ends within its deadline in every state. What it may take longer is the machine's scheduling.
@Suite(.timeLimit(.minutes(5)))
struct ConsumerCloseTests {
    // Far from the 30 s and more of a time-out that is waited out, and enough for a busy machine.
    private static let slack = Duration.seconds(10)

    @Test func aConsumerThatNeverStartedClosesAtOnce() async throws {
        let cluster = try TestCluster()
        let consumer = try KafkaConsumer(cluster.quickConsumer("nothing"), logger: .test)
        let summary = await expectWithin(Self.slack) { await consumer.close(within: .seconds(30)) }
        #expect(summary.unsettled == 0)
        for try await _ in consumer.deliveries { Issue.record("nothing was received") }
        for try await _ in consumer.partitions { Issue.record("nothing was received") }
        for await _ in consumer.events {}
    }

    @Test func aConsumerWithoutBrokersClosesInTime() async throws {
        // Nothing listens on port 1.
        let configuration = KafkaConsumer.Configuration(bootstrapServers: ["127.0.0.1:1"], group: "g", topics: ["t"])
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        let loop = Task { for try await _ in consumer.deliveries {} }
        let problem = try await events.first { if case .problem(let error, _) = $0 { error } else { nil } }
        #expect(problem.kind == .brokersUnreachable)
        await expectWithin(.seconds(1) + Self.slack) { await consumer.close(within: .seconds(1)) }
        try await loop.value
    }

    @Test func aConsumerThatIsJoiningClosesInTime() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let joining: MockCluster.RequestKind =
            TestCluster.groupProtocol == .classic ? .joinGroup : .consumerGroupHeartbeat
        if TestCluster.isMock { try cluster.mock.inject([.none], into: joining, broker: 1) }
        let loop = Task { for try await _ in consumer.deliveries {} }
        if TestCluster.isMock {
            // The mock broker has the request, and holds the answer back for 3 s in the classic protocol.
            try await waitUntil { try cluster.mock.pendingErrors(for: joining, broker: 1) == 0 }
        }
        await expectWithin(.seconds(2) + Self.slack) { await consumer.close(within: .seconds(2)) }
        try await loop.value
    }

    @Test func anIdleConsumerClosesAtOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 6)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let events = consumer.events
        let loop = Task { for try await _ in consumer.deliveries {} }
        try await events.first { if case .assigned = $0 { () } else { nil } }
        let summary = await expectWithin(Self.slack) { await consumer.close(within: .seconds(30)) }
        #expect(summary.leftGroup)
        try await loop.value
    }

    @Test func deliveriesInHandAreWaitedForUntilTheDeadlineAndNoLonger() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let deliveries = try await consumer.take(3)
        deliveries[0].acknowledge()
        // A quarter of it, up to 2 s, is for the last commit, and as much for leaving the group: what a broker with much else to do takes.
        let limit = Duration.seconds(12)
        let summary = await expectWithin(limit + Self.slack) { await consumer.close(within: limit) }
        #expect(summary.unsettled == 2)
        #expect(summary.uncommittedPartitions == 0)
        #expect(summary.leftGroup)
        withExtendedLifetime(deliveries) {}
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 1)
    }

    /// On a real broker it is a join under way that holds the answer up, for as long as a member is missing.
    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aCommitThatIsNotConfirmedInTimeIsReportedBeforeTheRevocation() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        var configuration = cluster.quickConsumer(topic)
        configuration.commitInterval = .seconds(60)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        let taken = try await consumer.take(1)
        try cluster.mock.inject([.none], into: .offsetCommit, broker: 1, delay: .seconds(30))
        taken[0].acknowledge()
        let summary = await expectWithin(.seconds(2) + Self.slack) { await consumer.close(within: .seconds(2)) }
        #expect(summary.unsettled == 0)
        #expect(summary.uncommittedPartitions == 1)
        var said: [String] = []
        for await event in events {
            switch event {
            case .commitFailed(let partitions, let error): said.append("\(error.kind) \(partitions)")
            case .revoked(let partitions, _): said.append("revoked \(partitions)")
            default: break
            }
        }
        #expect(said == ["timedOut [\(topic) [0]]", "revoked [\(topic) [0]]"])
    }

    @Test func closingInsideTheLoopEndsTheLoop() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 100)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        var count = 0
        for try await delivery in consumer.deliveries {
            count += 1
            delivery.acknowledge()
            if count == 10 {
                await expectWithin(Self.slack) { await consumer.close(within: .seconds(30)) }
            }
        }
        #expect(count == 10)
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 10)
    }

    @Test func closingTwiceAndFromManyTasksIsOneClose() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 2)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let held = try await consumer.take(2)
        let summaries = await expectWithin(.seconds(1) + Self.slack) {
            await withTaskGroup { group in
                // The earliest deadline counts.
                for number in 1...8 { group.addTask { await consumer.close(within: .seconds(number)) } }
                return await group.reduce(into: []) { $0.append($1) }
            }
        }
        #expect(Set(summaries).count == 1)
        #expect(summaries.first?.unsettled == 2)
        let again = await expectWithin(Self.slack) { await consumer.close() }
        #expect(again == summaries.first)
        withExtendedLifetime(held) {}
    }

    @Test(.enabled(if: TestCluster.isMock)) func aConsumerWhoseBrokersAreDownClosesInTime() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 2)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let deliveries = try await consumer.take(2)
        try cluster.mock.takeDown()
        deliveries[0].acknowledge()
        let commit = Task { try await consumer.commit() }
        let summary = await expectWithin(.seconds(2) + Self.slack) { await consumer.close(within: .seconds(2)) }
        #expect(summary.unsettled == 1)
        #expect(summary.uncommittedPartitions == 1)
        #expect(!summary.leftGroup)
        await #expect { try await commit.value } throws: { error in
            [.closed, .assignmentEnded].contains((error as? KafkaError)?.kind)
        }
    }

    /// Many times at once: what librdkafka's thread does between two calls is not for a test to decide.
    @Test(arguments: [KafkaConsumer.Configuration.AssignmentStrategy.range, .cooperativeSticky], [true, false])
    func aConsumerInARebalanceClosesInTime(
        strategy: KafkaConsumer.Configuration.AssignmentStrategy,
        isHeld: Bool
    ) async throws {
        let cluster = try TestCluster()
        let left = try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<4 { group.addTask { try await Self.closeInARebalance(cluster, strategy, isHeld: isHeld) } }
            return try await group.reduce(0) { $1 ? $0 + 1 : $0 }
        }
        // Behind what is held until the end the group has two seconds to hear of it, in which a busy machine may not answer.
        if !isHeld { #expect(left >= (TestCluster.isMock ? 4 : 1)) }
    }

    /// - Returns: Whether the group was told. With `isHeld` deliveries are held until the end.
    private static func closeInARebalance(
        _ cluster: TestCluster,
        _ strategy: KafkaConsumer.Configuration.AssignmentStrategy,
        isHeld: Bool
    ) async throws -> Bool {
        let topic = try await cluster.makeTopic(partitions: 4)
        try await cluster.fill(topic, partitions: 4, count: 5)
        let configuration = cluster.quickConsumer(topic, strategy: strategy)
        let first = try KafkaConsumer(configuration, logger: .test)
        let held = Shared<[KafkaConsumer.Delivery]>([])
        let (taken, deliveryWasTaken) = AsyncStream.makeStream(of: Void.self)
        let (ended, partitionEnded) = AsyncStream.makeStream(of: Void.self)
        let firstLoop = Task {
            try await withThrowingDiscardingTaskGroup { group in
                for try await partition in first.partitions {
                    group.addTask {
                        for try await delivery in partition {
                            // Held, so that the revocation waits.
                            held.change { $0.append(delivery) }
                            deliveryWasTaken.yield()
                        }
                        partitionEnded.yield()
                    }
                }
            }
        }
        for await _ in taken.prefix(20) {}
        let second = try KafkaConsumer(configuration, logger: .test)
        let secondLoop = Task { for try await _ in second.deliveries {} }
        // A partition's loop ends when its revocation begins.
        for await _ in ended { break }
        let limit = Duration.seconds(isHeld ? 12 : 60)
        async let closing = expectWithin(limit + slack) { await first.close(within: limit) }
        // The rebalance goes on now, or a moment before the consumer closes.
        if !isHeld { for delivery in held.value { delivery.acknowledge() } }
        let summary = await closing
        await expectWithin(.seconds(2) + slack) { await second.close(within: .seconds(2)) }
        try await firstLoop.value
        try await secondLoop.value
        #expect(held.value.count == 20)
        return summary.leftGroup
    }

    enum Handler: CaseIterable {
        case perPartition
        case perKey
        case unordered
        case batch
    }

    @Test(arguments: Handler.allCases)
    func aHandlerThatClosesItsConsumerIsNotWaitedForByItself(kind: Handler) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let handle = { @Sendable (delivery: KafkaConsumer.Delivery) async throws in
            guard delivery.offset == 3 else { return }
            let summary = await expectWithin(Self.slack) { await consumer.close() }
            #expect(!summary.leftGroup)
        }
        try await expectWithin(Self.slack * 2) {
            switch kind {
            case .perPartition: try await consumer.forEach(handle)
            case .perKey: try await consumer.forEach(concurrency: .perKey(maximum: 1), handle)
            case .unordered: try await consumer.forEach(concurrency: .unordered(maximum: 1), handle)
            case .batch:
                try await consumer.forEachBatch(maximumCount: 1, maximumWait: .zero) { try await handle($0[0]) }
            }
        }
        // It has returned meanwhile, and so it is acknowledged.
        let summary = await consumer.close()
        #expect(summary.leftGroup)
        #expect(summary.unsettled == 0 || kind == .perKey || kind == .unordered)
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 4)
    }

    @Test func aTaskThatAHandlerStartsClosesTheConsumerAndWaitsForThat() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 4)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let closing = Shared<Task<KafkaCloseSummary, Never>?>(nil)
        try await consumer.forEach { delivery in
            if delivery.offset == 3 { closing.change { $0 = Task { await consumer.close() } } }
        }
        #expect(await closing.value?.value.leftGroup == true)
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 4)
    }

    @Test func aServiceGroupClosesTheConsumer() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 4)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let services = ServiceGroup(services: [consumer], logger: .test)
        let running = Task { try await services.run() }
        for delivery in try await consumer.take(4) { delivery.acknowledge() }
        await services.triggerGracefulShutdown()
        try await expectWithin(Self.slack) { try await running.value }
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 4)
    }

    /// Reads, and sends for each message another one.
    private struct Worker: Service {
        let consumer: KafkaConsumer
        let producer: KafkaProducer
        let topic: String
        let concurrency: KafkaConsumer.Concurrency
        let handled: Recorder

        func run() async throws {
            try await consumer.forEach(concurrency: concurrency) { delivery in
                try await producer.send(KafkaMessage(topic: topic, value: delivery.value))
                _ = handled.record(key: "", Int(delivery.offset))
            }
        }
    }

    @Test(arguments: [KafkaConsumer.Concurrency.perPartition, .perKey(maximum: 4)])
    func aServiceGroupShutsDownItsWorkerFirstAndLosesNothing(concurrency: KafkaConsumer.Concurrency) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let outputs = try await cluster.makeTopic(name: "outputs")
        try await cluster.fill(topic, count: 2_000)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let handled = Recorder()
        let worker = Worker(
            consumer: consumer,
            producer: producer,
            topic: outputs,
            concurrency: concurrency,
            handled: handled
        )
        // As the README has it.
        let services = ServiceGroup(services: [producer, consumer, worker], logger: .test)
        let running = Task { try await services.run() }
        try await waitUntil { (handled.numbers[""]?.count ?? 0) >= 100 }
        await services.triggerGracefulShutdown()
        try await expectWithin(Self.slack) { try await running.value }
        let count = handled.numbers[""]?.count ?? 0
        let committed = try await GroupOffsets(cluster, configuration.group).committed(topic)
        #expect(committed == Int64(count))
        #expect(try await Kcat(cluster).count(outputs, partition: 0) == count)
    }

    @Test func cancellingTheTaskThatRunsTheConsumerClosesIt() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 4)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let running = Task { try await consumer.run() }
        let deliveries = try await consumer.take(4)
        for delivery in deliveries.prefix(2) { delivery.acknowledge() }
        let loop = Task { for try await _ in consumer.deliveries {} }
        running.cancel()
        await expectWithin(.seconds(2) + Self.slack) { _ = await running.result }
        try await loop.value
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 2)
    }
}
