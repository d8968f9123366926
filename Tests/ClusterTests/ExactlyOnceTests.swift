import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Reading, transforming and sending exactly once, whatever is killed or lost meanwhile.
@Suite(.timeLimit(.minutes(5)))
struct ExactlyOnceTests {
    /// The mock cluster shows what was aborted, and does not keep offsets of transactions.
    @Test(.enabled(if: !TestCluster.isMock, "needs a real broker"))
    func membersThatAreKilledTransformEveryMessageExactlyOnce() async throws {
        let cluster = try TestCluster()
        let partitions = 4
        let input = try await cluster.makeTopic(partitions: partitions, name: "in")
        let output = try await cluster.makeTopic(partitions: partitions, name: "out")
        let group = TestCluster.uniqueName("group")
        let names = [TestCluster.uniqueName("first"), TestCluster.uniqueName("second")]
        /// How many messages members had in hand, and how many members have ended.
        let progress = Shared((inHand: [0, 0], ended: 0))
        func start(_ number: Int) throws -> ChildProcess {
            try Self.start(names[number], on: cluster, group, input, output) { count in
                progress.change { if count > 0 { $0.inHand[number] += count } else { $0.ended += 1 } }
            }
        }
        var members = try (0..<2).map { try start($0) }
        var count = 0
        let kills = 20
        for kill in 0..<kills {
            let number = kill % 2
            // Wherever it is just then: in the middle of a batch, or of its commit.
            let target = progress.value.inHand[number] + Int.random(in: 1...60)
            while progress.value.inHand[number] < target {
                try #require(progress.value.ended == kill, "a member ended before it was killed")
                try await cluster.fill(input, partitions: partitions, count: 20, from: count)
                count += 20
                let sent = count * partitions
                try await progress.wait { progress in
                    progress.inHand[number] >= target || progress.inHand[0] + progress.inHand[1] >= sent
                        || progress.ended > kill
                }
            }
            Foundation.kill(members[number].identifier, SIGKILL)
            #expect(members[number].wait() == SIGKILL)
            members[number] = try start(number)
            try await progress.wait { $0.ended == kill + 1 }
        }
        let offsets = GroupOffsets(cluster, group)
        let end = Dictionary(uniqueKeysWithValues: (0..<partitions).map { ($0, Int64(count)) })
        try await waitUntil { try await offsets.committed(input, partitions: 0...partitions - 1) == end }
        for member in members {
            try member.input.close()
            #expect(member.wait() == 0)
        }
        for partition in 0..<partitions {
            let values = try await Kcat(cluster).committedValues(output, partition: partition)
            #expect(values == (0..<count).map(String.init))
        }
    }

    /// Starts a process that transforms.
    ///
    /// - Parameter onProgress: Gets how many more messages it had in hand; 0 when it has ended.
    private static func start(
        _ name: String,
        on cluster: TestCluster,
        _ group: String,
        _ input: String,
        _ output: String,
        onProgress: @escaping @Sendable (Int) -> Void
    ) throws -> ChildProcess {
        let tests = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        let process = try ChildProcess(
            tests.appendingPathComponent("TestMember").path,
            ["transform", cluster.bootstrapServers.joined(separator: ","), name, group, input, output]
        )
        Thread.detachNewThread {
            while case let dots = process.nextOutput(), !dots.isEmpty { onProgress(dots.count) }
            onProgress(0)
        }
        return process
    }

    @Test func aCommitWhoseAnswerIsLostIsFoundOutAndNothingIsDoneTwice() async throws {
        let cluster = try TestCluster()
        let relay = try FaultRelay(seed: 1)
        let input = try await cluster.makeTopic(name: "in")
        let output = try await cluster.makeTopic(name: "out")
        try await cluster.fill(input, count: 20)
        var configuration = cluster.transactionalConfiguration()
        configuration.operationTimeout = .seconds(3)
        relay.route(&configuration)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let settings = cluster.quickConsumer(input)
        try await withKafkaConsumer(settings, logger: .test) { consumer in
            let deliveries = try await consumer.take(10)
            try await producer.initialize()
            relay.faults.responseLoss = .init(probability: 1, kinds: [.endTransaction], cutsAfter: nil)
            let error = await kafkaError {
                try await producer.withTransaction { transaction in
                    try await transaction.send(KafkaMessage(topic: output, value: "first"))
                    try transaction.acknowledge(deliveries, from: consumer)
                }
            }
            #expect(error?.kind == .transactionOutcomeUnknown)
            #expect(error?.persistence == .possiblyPersisted)
            relay.faults = .init()
            try await producer.initialize()
            let next = try await consumer.take(10)
            // It was committed. (The mock cluster's group knows nothing of it, so there it is done again.)
            #expect(next.first?.offset == (TestCluster.isMock ? 0 : 10))
            #expect(next.first?.attempt == (TestCluster.isMock ? 2 : 1))
            try await producer.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: output, value: "second"))
                try transaction.acknowledge(next, from: consumer)
            }
        }
        #expect(try await Kcat(cluster).committedValues(output) == ["first", "second"])
        if !TestCluster.isMock { #expect(try await GroupOffsets(cluster, settings.group).committed(input) == 20) }
        await producer.close()
        await relay.shutdown()
    }

    @Test(.enabled(if: !TestCluster.isMock, "needs a real broker"))
    func aBadNetworkTransformsEveryMessageExactlyOnce() async throws {
        let cluster = try TestCluster()
        let relay = try FaultRelay(seed: 7)
        let count = 400
        let input = try await cluster.makeTopic(partitions: 2, name: "in")
        let output = try await cluster.makeTopic(partitions: 2, name: "out")
        try await cluster.fill(input, partitions: 2, count: count)
        var configuration = cluster.transactionalConfiguration()
        configuration.operationTimeout = .seconds(5)
        configuration.additionalProperties["reconnect.backoff.max.ms"] = "1000"
        relay.route(&configuration)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let settings = cluster.quickConsumer(input)
        let consumer = try KafkaConsumer(settings, logger: .test)
        relay.faults.responseLoss = .init(probability: 0.03, kinds: [], cutsAfter: .milliseconds(10))
        relay.faults.requests.meanBytesBetweenCuts = 20_000
        let running = Task {
            try await consumer.transform(through: producer, maximumCount: 10) { delivery in
                [KafkaMessage(topic: output, partition: delivery.partition, value: delivery.value)]
            }
        }
        let offsets = GroupOffsets(cluster, settings.group)
        try await waitUntil {
            try await offsets.committed(input, partitions: 0...1) == [0: Int64(count), 1: Int64(count)]
        }
        await consumer.close()
        try await running.value
        await producer.close()
        #expect(relay.statistics.cuts > 0)
        for partition in 0..<2 {
            let values = try await Kcat(cluster).committedValues(output, partition: partition)
            #expect(values == (0..<count).map(String.init))
        }
        await relay.shutdown()
    }
}
