import KafkaDelivery
import Testing

@testable import class KafkaDelivery.ConsumerCore

@Suite(.timeLimit(.minutes(5)))
struct ConsumerLoopTests {
    @Test func aLoopThatIsLeftAndEnteredAgainGoesOnWhereItWas() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 500)
        let configuration = cluster.quickConsumer(topic)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            var seen: [Int: [Int64]] = [:]
            for count in Array(repeating: 1, count: 100) + [200, 300, 400] {
                for delivery in try await consumer.take(count) {
                    seen[delivery.partition, default: []].append(delivery.offset)
                    #expect(delivery.generation == 1)
                    delivery.acknowledge()
                }
            }
            #expect(seen == [0: Array(0..<500), 1: Array(0..<500)])
            try await consumer.commit()
            let committed = try await GroupOffsets(cluster, configuration.group).committed(topic, partitions: 0...1)
            #expect(committed == [0: 500, 1: 500])
        }
    }

    @Test func cancellingTheTaskEndsTheLoopAndLosesNothing() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 3)
        try await cluster.fill(topic, partitions: 3, count: 2_000)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let seen = Shared<[Int: [Int64]]>([:])
            for target in Array(stride(from: 37, to: 6_000, by: 211)) + [6_000] {
                let task = Task {
                    for try await delivery in consumer.deliveries {
                        let count = seen.change { seen in
                            seen[delivery.partition, default: []].append(delivery.offset)
                            return seen.values.reduce(0) { $0 + $1.count }
                        }
                        delivery.acknowledge()
                        if count == target { withUnsafeCurrentTask { $0?.cancel() } }
                    }
                    return Task.isCancelled
                }
                let wasCancelled = try await task.value
                #expect(wasCancelled)
            }
            #expect(seen.value == [0: Array(0..<2_000), 1: Array(0..<2_000), 2: Array(0..<2_000)])
        }
    }

    @Test func cancellingATaskThatWaitsForAMessageEndsItsLoopAtOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let waiting = AsyncStream.makeStream(of: Void.self)
            let task = Task {
                for try await delivery in consumer.deliveries {
                    delivery.acknowledge()
                    waiting.continuation.yield()
                }
            }
            for await _ in waiting.stream { break }
            task.cancel()
            try await expectWithin(.seconds(20)) { try await task.value }
            // Cancelled before it begins.
            let second = Task {
                while !Task.isCancelled { await Task.yield() }
                for try await _ in consumer.deliveries { Issue.record("a cancelled task receives nothing") }
                for try await _ in consumer.partitions { Issue.record("a cancelled task receives nothing") }
            }
            second.cancel()
            try await second.value
            try await cluster.fill(topic, count: 1, from: 1)
            let next = try await consumer.takeOffsets(1)
            #expect(next == [1])
        }
    }

    @Test func severalLoopsShareTheDeliveries() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 4)
        try await cluster.fill(topic, partitions: 4, count: 1_000)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let seen = Shared<[KafkaTopicPartition: [Int64]]>([:])
            let total = Shared(0)
            try await withThrowingTaskGroup { group in
                for _ in 0..<4 {
                    group.addTask {
                        for try await delivery in consumer.deliveries {
                            seen.change { $0[delivery.topicPartition, default: []].append(delivery.offset) }
                            delivery.acknowledge()
                            let count = total.change { total in
                                total += 1
                                return total
                            }
                            if count == 4_000 { break }
                        }
                    }
                }
                // One of them sees the last message; the others wait, and are cancelled.
                try await group.next()
                group.cancelAll()
            }
            for offsets in seen.change({ Array($0.values) }) { #expect(offsets.sorted() == Array(0..<1_000)) }
            #expect(seen.value.count == 4)
        }
    }

    @MainActor
    @Test func deliveriesOnTheMainActorStayThere() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 5_000)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        var offsets: [Int64] = []
        for try await delivery in consumer.deliveries {
            MainActor.assertIsolated()
            offsets.append(delivery.offset)
            delivery.acknowledge()
            if offsets.count == 5_000 { break }
        }
        #expect(offsets == Array(0..<5_000))
        await consumer.close()
        MainActor.assertIsolated()
    }

    @Test func droppingTheConsumerEndsItsLoopsAndFreesIt() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        var configuration = cluster.quickConsumer(topic)
        configuration.closeTimeout = .seconds(5)
        weak var core: ConsumerCore?
        weak var owner: KafkaConsumer?
        do {
            let consumer = try KafkaConsumer(configuration, logger: .test)
            core = consumer.deliveries.core
            owner = consumer
            let deliveries = consumer.deliveries
            let partitions = consumer.partitions
            let events = consumer.events
            for delivery in try await consumer.take(3) { delivery.acknowledge() }
            let loops = Task {
                for try await _ in deliveries {}
                for try await _ in partitions {}
                for await _ in events {}
            }
            #expect(core != nil)
            _ = consume consumer
            try await loops.value
        }
        #expect(owner == nil)
        try await waitUntil { core == nil }
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 3)
    }

    @Test func aPartitionThatIsSpokenOfAfterItsEndDoesNotKeepTheConsumer() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 2)
        weak var core: ConsumerCore?
        do {
            let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
            core = consumer.deliveries.core
            let deliveries = try await consumer.take(2)
            let reader = try #require(consumer.deliveries.core.assigned.values.first)
            reader.pause()
            await consumer.close(within: .seconds(1))
            // Both would make it ready to be read.
            reader.resume()
            for delivery in deliveries { delivery.negativelyAcknowledge() }
        }
        try await waitUntil { core == nil }
    }

    @Test func aPartitionThatWasLetGoOfGoesToTheNextLoop() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 300)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            var next: Int64 = 0
            for _ in 0..<100 {
                for try await partition in consumer.partitions {
                    for try await delivery in partition {
                        #expect(delivery.offset == next)
                        break
                    }
                    next += 1
                    break
                }
                let offsets = try await consumer.takeOffsets(2)
                #expect(offsets == [next, next + 1])
                next += 2
            }
            #expect(next == 300)
        }
    }

    @Test func aLoopThatWasLeftDoesNotKeepTheConsumer() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 300)
        weak var core: ConsumerCore?
        do {
            let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
            core = consumer.deliveries.core
            for _ in 0..<100 { _ = try await consumer.take(1) }
            for try await partition in consumer.partitions {
                for try await _ in partition { break }
                break
            }
            // Even one that is still in the middle of a partition, with a delivery in hand, when closing is over.
            var iterator = consumer.deliveries.makeAsyncIterator()
            let last = try await iterator.next()
            await consumer.close(within: .zero)
            #expect(last?.offset == 101)
            #expect(last?.text == "101")
        }
        try await waitUntil { core == nil }
    }

    @Test func aConsumerInAScopeIsClosedWhenTheScopeThrows() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 2)
        let configuration = cluster.quickConsumer(topic)
        struct Stop: Error {}
        await #expect(throws: Stop.self) {
            try await withKafkaConsumer(configuration, logger: .test) { consumer in
                for try await delivery in consumer.deliveries {
                    delivery.acknowledge()
                    throw Stop()
                }
            }
        }
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 1)
    }

    @Test func eachPartitionIsASequenceInOrder() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 8)
        try await cluster.fill(topic, partitions: 8, count: 1_000)
        let configuration = cluster.quickConsumer(topic)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let numbers = Shared(Set<Int>())
            try await withThrowingDiscardingTaskGroup { group in
                var count = 0
                for try await partition in consumer.partitions {
                    #expect(partition.topic == topic)
                    #expect(numbers.change { $0.insert(partition.partition).inserted })
                    group.addTask {
                        var next: Int64 = 0
                        for try await delivery in partition {
                            #expect(delivery.partition == partition.partition)
                            #expect(delivery.offset == next)
                            next += 1
                            delivery.acknowledge()
                            if next == 1_000 { break }
                        }
                        #expect(next == 1_000)
                    }
                    count += 1
                    if count == 8 { break }
                }
            }
            try await consumer.commit()
            let committed = try await GroupOffsets(cluster, configuration.group).committed(topic, partitions: 0...7)
            #expect(committed == Dictionary(uniqueKeysWithValues: (0..<8).map { ($0, 1_000) }))
        }
    }

    @Test func closingEndsThePartitionSequences() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 1)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let received = AsyncStream.makeStream(of: Void.self)
        let loops = Task {
            try await withThrowingDiscardingTaskGroup { group in
                for try await partition in consumer.partitions {
                    group.addTask {
                        for try await delivery in partition {
                            delivery.acknowledge()
                            received.continuation.yield()
                        }
                    }
                }
            }
        }
        var count = 0
        for await _ in received.stream {
            count += 1
            if count == 2 { break }
        }
        let summary = await consumer.close()
        #expect(summary.leftGroup)
        try await loops.value
    }
}
