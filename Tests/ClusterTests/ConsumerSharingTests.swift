import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// No loop keeps a partition to itself: neither one that was left and never destroyed, nor one that is busy.
@Suite(.timeLimit(.minutes(5)))
struct ConsumerSharingTests {
    /// Runs `Tests/TopLevelLoops` and returns what it printed, and how it ended.
    private func runScript(
        _ cluster: TestCluster,
        _ topic: String
    ) async throws -> (lines: [String], end: ChildProcess.End) {
        let configuration = cluster.quickConsumer(topic)
        let properties = [("session", configuration.sessionTimeout), ("heartbeat", configuration.heartbeatInterval)]
            .compactMap { name, time in time.map { "\(name)=\($0 / .milliseconds(1))" } }
        let script = try ChildProcess(
            URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
                .appendingPathComponent("TopLevelLoops").path,
            [cluster.bootstrapServers.joined(separator: ","), configuration.group, topic] + properties
        )
        // The time limit ends the test; the script would go on.
        defer { script.send(signal: SIGKILL) }
        return await withTaskCancellationHandler {
            var lines: [String] = []
            for await line in script.lines() { lines.append(line) }
            return (lines, await script.end())
        } onCancel: {
            script.send(signal: SIGKILL)
        }
    }

    @Test func loopsInTopLevelCodeGoOnWhereTheOnesBeforeThemWereLeft() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 20)
        let (lines, end) = try await runScript(cluster, topic)
        #expect(
            lines == [
                "deliveries 0", "deliveries 1", "partition 2", "partition 3", "kept 4", "kept 5", "deliveries 6",
            ]
        )
        #expect(end == .exit(0))
    }

    @Test func anIteratorThatIsKeptKeepsNoPartition() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            var left = consumer.deliveries.makeAsyncIterator()
            #expect(try await left.next()?.offset == 0)
            #expect(try await consumer.takeOffsets(2) == [1, 2])
            // What comes while the next loop waits goes to that one.
            async let next = consumer.takeOffsets(1)
            try await cluster.fill(topic, count: 2, from: 3)
            #expect(try await next == [3])
            #expect(try await left.next()?.offset == 4)
        }
    }

    @Test func whileALoopIsBusyWithADeliveryAnotherOneGetsTheNext() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 100)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let offsets = Shared<[Int64]>([])
            try await withThrowingTaskGroup { group in
                for _ in 0..<2 {
                    group.addTask {
                        for try await delivery in consumer.deliveries {
                            let count = offsets.change { offsets in
                                offsets.append(delivery.offset)
                                return offsets.count
                            }
                            // The first that gets one is busy until the other has got the rest.
                            if count == 1 { try await offsets.wait { $0.count == 100 } }
                            delivery.acknowledge()
                        }
                    }
                }
                try await offsets.wait { $0.count == 100 }
                group.cancelAll()
            }
            // Two tasks take the first two, and either may be the first to note its own.
            #expect(offsets.value.sorted() == Array(0..<100))
        }
    }

    @Test(arguments: [false, true])
    func eachOfManyLoopsThatWaitGetsOneOfTheMessagesThatComeTogether(areOnePartition: Bool) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let partition: KafkaConsumer.Partition?
            if areOnePartition {
                var partitions = consumer.partitions.makeAsyncIterator()
                partition = try await partitions.next()
            } else {
                partition = nil
            }
            let offsets = Shared(Set<Int64>())
            try await withThrowingTaskGroup { group in
                for _ in 0..<8 {
                    group.addTask {
                        // Each holds what it gets until all have something.
                        if let partition {
                            for try await delivery in partition {
                                offsets.change { _ = $0.insert(delivery.offset) }
                                try await offsets.wait { $0.count == 9 }
                                break
                            }
                        } else {
                            for try await delivery in consumer.deliveries {
                                offsets.change { _ = $0.insert(delivery.offset) }
                                try await offsets.wait { $0.count == 9 }
                                break
                            }
                        }
                    }
                }
                // One has the first message, and the others come to wait.
                try await offsets.wait { $0.count == 1 }
                try await cluster.fill(topic, count: 8, from: 1)
                try await offsets.wait { $0.count == 8 }
                offsets.change { _ = $0.insert(-1) }
                try await group.waitForAll()
            }
            #expect(offsets.value == Set(-1..<8))
        }
    }

    @Test func aLoopThatIsCancelledWhenItIsToldOfAMessageLeavesItToAnother() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let received = Shared<[Int64]>([])
            let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
            for round in 0..<200 {
                let loops = (0..<2).map { _ in
                    Task {
                        var iterator = consumer.deliveries.makeAsyncIterator()
                        while let delivery = try await iterator.next() {
                            received.change { $0.append(delivery.offset) }
                            delivery.acknowledge()
                        }
                        // Not destroyed before the other one has got the message.
                        try? await Task.detached { try await received.wait { $0.count > round } }.value
                    }
                }
                let sending = Task { try await producer.send(KafkaMessage(topic: topic, value: "\(round)")) }
                if round % 2 == 0 { _ = try await sending.value }
                loops[round % 3 == 0 ? 1 : 0].cancel()
                _ = try await sending.value
                try await received.wait { $0.count > round }
                for loop in loops { loop.cancel() }
                for loop in loops { try await loop.value }
            }
            #expect(received.value == Array(0..<200))
            await producer.close()
        }
    }

    @Test func loopsThatComeAndGoGetEveryMessageOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 6)
        try await cluster.fill(topic, partitions: 6, count: 1_000)
        let configuration = cluster.quickConsumer(topic)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let seen = Shared<[KafkaTopicPartition: [Int64]]>([:])
            let count = Shared(0)
            try await withThrowingTaskGroup { group in
                for loop in 0..<8 {
                    group.addTask {
                        while count.value < 6_000 {
                            var rest = 1 + loop * 7
                            for try await delivery in consumer.deliveries {
                                seen.change { $0[delivery.topicPartition, default: []].append(delivery.offset) }
                                delivery.acknowledge()
                                count.change { $0 += 1 }
                                rest -= 1
                                if rest == 0 { break }
                            }
                            if Task.isCancelled { return }
                        }
                    }
                }
                try await count.wait { $0 == 6_000 }
                group.cancelAll()
            }
            #expect(seen.value.count == 6)
            for offsets in seen.value.values { #expect(offsets.sorted() == Array(0..<1_000)) }
            try await consumer.commit()
            let committed = try await GroupOffsets(cluster, configuration.group).committed(topic, partitions: 0...5)
            #expect(committed == Dictionary(uniqueKeysWithValues: (0..<6).map { ($0, 1_000) }))
        }
    }

    @Test func aLoopOverDeliveriesReadsAPartitionThatIsKeptAndNotRead() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 4)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            var partitions = consumer.partitions.makeAsyncIterator()
            let kept = try #require(try await partitions.next())
            var left = kept.makeAsyncIterator()
            #expect(try await left.next()?.offset == 0)
            #expect(try await consumer.takeOffsets(2) == [1, 2])
            #expect(try await left.next()?.offset == 3)
            async let next = consumer.takeOffsets(1)
            try await cluster.fill(topic, count: 1, from: 4)
            #expect(try await next == [4])
        }
    }
}
