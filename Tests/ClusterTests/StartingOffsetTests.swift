import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Where partitions begin for applications that keep offsets themselves.
@Suite(.timeLimit(.minutes(5)))
struct StartingOffsetTests {
    private struct Failure: Error {}

    @Test func aPartitionBeginsAtTheOffsetOfTheApplicationWhateverTheGroupHasCommitted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 10)
        var configuration = cluster.quickConsumer(topic)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            for delivery in try await consumer.take(20) { delivery.acknowledge() }
            try await consumer.commit()
        }
        let asked = Shared<[KafkaConsumer.AssignedPartition]>([])
        configuration.startingOffset = { assigned in
            asked.change { $0.append(assigned) }
            return assigned.partition.partition == 0 ? 4 : 7
        }
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let taken = try await consumer.take(9)
            #expect(taken.filter { $0.partition == 0 }.map(\.offset) == Array(4..<10))
            #expect(taken.filter { $0.partition == 1 }.map(\.offset) == Array(7..<10))
        }
        #expect(asked.value.map(\.committedOffset) == [10, 10])
        #expect(asked.value.map(\.partition.topic) == [topic, topic])
    }

    // librdkafka gives the partition up, for nothing is committed, before the application has answered.
    @Test func aPartitionBeginsAtTheOffsetOfTheApplicationAlsoWhereAMissingOneIsAFailure() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 10)
        var configuration = cluster.quickConsumer(topic)
        configuration.autoOffsetReset = .failure
        configuration.startingOffset = { _ in 7 }
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let taken = try await consumer.take(6)
            for partition in 0..<2 {
                #expect(taken.filter { $0.partition == partition }.map(\.offset) == [7, 8, 9])
            }
        }
    }

    @Test func nilBeginsWhereThePartitionWouldBeginAnyway() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        var configuration = cluster.quickConsumer(topic)
        configuration.startingOffset = { assigned in
            #expect(assigned.committedOffset == nil)
            return nil
        }
        configuration.start = .last(3)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let offsets = try await consumer.takeOffsets(3)
            #expect(offsets == [7, 8, 9])
        }
        configuration.start = .committed
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let offsets = try await consumer.takeOffsets(3)
            #expect(offsets == [0, 1, 2])
        }
    }

    @Test func nothingIsHandedOutBeforeTheApplicationHasAnsweredAndAFailureIsToldAndAskedAgain() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 5)
        var configuration = cluster.quickConsumer(topic)
        let (calls, isAnswered) = (Shared(0), Shared(false))
        configuration.startingOffset = { assigned in
            guard assigned.partition.partition == 0 else { return nil }
            guard
                calls.change({
                    $0 += 1; return $0
                }) >= 3
            else { throw Failure() }
            isAnswered.change { $0 = true }
            return 2
        }
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            let taking = Task {
                var offsets: [[Int64]] = [[], []]
                for try await delivery in consumer.deliveries {
                    offsets[delivery.partition].append(delivery.offset)
                    if delivery.partition == 0 { #expect(isAnswered.value, "handed out before the answer") }
                    if offsets[0].count == 3, offsets[1].count == 5 { break }
                }
                return offsets
            }
            var told: [Duration] = []
            for await event in events {
                guard case .startingOffsetFailed(let partition, let error, let delay) = event else { continue }
                #expect(partition == KafkaTopicPartition(topic: topic, partition: 0))
                #expect(error is Failure)
                told.append(delay)
                if told.count == 2 { break }
            }
            #expect(told == [.milliseconds(100), .milliseconds(200)])
            let taken = try await taking.value
            #expect(taken == [[2, 3, 4], [0, 1, 2, 3, 4]])
        }
        #expect(calls.value == 3)
    }

    @Test func closingCancelsTheQuestionAndDoesNotWaitForItsAnswer() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.quickConsumer(topic)
        let (isAsked, isCancelled) = (Shared(false), Shared(false))
        configuration.startingOffset = { _ in
            isAsked.change { $0 = true }
            await Shared(false).wait(atMost: .seconds(100)) { $0 }
            isCancelled.change { $0 = Task.isCancelled }
            throw CancellationError()
        }
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let taking = Task { for try await _ in consumer.deliveries { Issue.record("handed out") } }
        try await isAsked.wait { $0 }
        let summary = await consumer.close()
        #expect(summary.leftGroup)
        _ = await taking.result
        try await isCancelled.wait { $0 }
    }

    @Test func aRebalanceDuringTheQuestionEndsItAndTheNextOwnerIsAskedInItsPlace() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 4)
        let configuration = cluster.quickConsumer(topic)
        let (isAsked, cancelled) = (Shared(0), Shared(0))
        var stuck = configuration
        stuck.startingOffset = { _ in
            isAsked.change { $0 += 1 }
            await Shared(false).wait(atMost: .seconds(100)) { $0 }
            if Task.isCancelled { cancelled.change { $0 += 1 } }
            return 0
        }
        var prompt = configuration
        let asked = Shared<[Int]>([])
        prompt.startingOffset = { assigned in
            asked.change { $0.append(assigned.partition.partition) }
            return 1
        }
        let first = try KafkaConsumer(stuck, logger: .test)
        let neverTakes = Task { for try await _ in first.deliveries { Issue.record("handed out") } }
        try await isAsked.wait { $0 == 2 }
        try await withKafkaConsumer(prompt, logger: .test) { second in
            let taken = try await second.take(3)
            #expect(taken.map(\.offset) == [1, 2, 3])
            #expect(Set(taken.map(\.partition)) == Set(asked.value))
            try await cancelled.wait { $0 >= 1 }
        }
        await first.close()
        _ = await neverTakes.result
    }

    @Test func namedPartitionsAreAskedAboutToo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 6)
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: cluster.bootstrapServers,
            partitions: [KafkaTopicPartition(topic: topic, partition: 0)]
        )
        configuration.startingOffset = { assigned in
            #expect(assigned.committedOffset == nil)
            return 4
        }
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let offsets = try await consumer.takeOffsets(2)
            #expect(offsets == [4, 5])
        }
    }
}
