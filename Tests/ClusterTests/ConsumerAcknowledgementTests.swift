import KafkaDelivery
import Testing

@Suite(.timeLimit(.minutes(5)))
struct ConsumerAcknowledgementTests {
    @Test func onlyAcknowledgedMessagesAreCommitted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let configuration = cluster.quickConsumer(topic)
        let first = try KafkaConsumer(configuration, logger: .test)
        let deliveries = try await first.take(10)
        #expect(deliveries.map(\.offset) == Array(0..<10))
        for delivery in deliveries.prefix(4) { delivery.acknowledge() }
        try await first.commit()
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 4)
        let summary = await first.close(within: .seconds(1))
        #expect(summary.unsettled == 6)
        #expect(summary.uncommittedPartitions == 0)
        withExtendedLifetime(deliveries) {}
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 4)

        try await withKafkaConsumer(configuration, logger: .test) { second in
            let rest = try await second.takeOffsets(6)
            #expect(rest == Array(4..<10))
        }
    }

    @Test func outOfOrderAcknowledgementsCommitOnlyTheSettledPrefix() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let configuration = cluster.quickConsumer(topic)
        let offsets = GroupOffsets(cluster, configuration.group)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(10)
            for number in [1, 2, 5, 9] { deliveries[number].acknowledge() }
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == nil)
            deliveries[0].acknowledge()
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == 3)
            deliveries[4].acknowledge()
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == 3)
            deliveries[3].acknowledge()
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == 6)
            for delivery in deliveries { delivery.acknowledge() }
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == 10)
        }
    }

    @Test func aDeliveryThatWasLetGoOfIsNeverCommittedPast() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let configuration = cluster.quickConsumer(topic)
        let offsets = GroupOffsets(cluster, configuration.group)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        var count = 0
        for try await delivery in consumer.deliveries {
            if delivery.offset != 3 { delivery.acknowledge() }
            count += 1
            if count == 10 { break }
        }
        try await consumer.commit()
        #expect(try await offsets.committed(topic) == 3)
        // Nobody holds it, so closing does not wait for it.
        let summary = await expectWithin(.seconds(10)) { await consumer.close(within: .seconds(60)) }
        #expect(summary.unsettled == 1)
        #expect(try await offsets.committed(topic) == 3)
    }

    @Test func aMessageThatWasNotAcknowledgedGoesToTheNextConsumer() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        for delivery in try await consumer.take(3) where delivery.offset == 0 { delivery.acknowledge() }
        #expect(await consumer.close().leftGroup)
        let received = try await Kcat(cluster).readInGroup(configuration.group, topic, count: 2, format: "%o=%s\n")
        #expect(received == "1=1\n2=2\n")
    }

    @Test func acknowledgementsAreCommittedWithoutBeingAskedFor() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 5)
        var configuration = cluster.quickConsumer(topic)
        configuration.commitInterval = .milliseconds(50)
        let offsets = GroupOffsets(cluster, configuration.group)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(5)
            deliveries[0].acknowledge()
            try await waitUntil { try await offsets.committed(topic) == 1 }
            for delivery in deliveries { delivery.acknowledge() }
            try await waitUntil { try await offsets.committed(topic) == 5 }
        }
    }

    @Test func manyAcknowledgementsAreCommittedBeforeTheirTime() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 20)
        var configuration = cluster.quickConsumer(topic)
        configuration.commitInterval = .seconds(3600)
        configuration.maximumUncommitted = 10
        let offsets = GroupOffsets(cluster, configuration.group)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(20)
            for delivery in deliveries.prefix(9) { delivery.acknowledge() }
            #expect(try await offsets.committed(topic) == nil)
            deliveries[9].acknowledge()
            try await waitUntil { try await offsets.committed(topic) == 10 }
        }
    }

    @Test func closingCommitsWhatWasAcknowledged() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 5)
        var configuration = cluster.quickConsumer(topic)
        configuration.commitInterval = .seconds(3600)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        for delivery in try await consumer.take(5) { delivery.acknowledge() }
        let summary = await consumer.close()
        #expect(summary.unsettled == 0)
        #expect(summary.uncommittedPartitions == 0)
        #expect(summary.leftGroup)
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 5)
    }

    @Test func closingWaitsForTheDeliveriesInHand() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 2)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let deliveries = try await consumer.take(2)
        async let summary = consumer.close(within: .seconds(60))
        // The loop ends when closing has begun.
        for try await _ in consumer.deliveries { Issue.record("nothing more is handed out") }
        for delivery in deliveries { delivery.acknowledge() }
        let released = ContinuousClock.now
        #expect(await summary.unsettled == 0)
        #expect(released.duration(to: .now) < .seconds(20))
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 2)
    }

    @Test func anAcknowledgementAfterClosingChangesNothing() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let deliveries = try await consumer.take(3)
        await consumer.close(within: .zero)
        for delivery in deliveries { delivery.acknowledge() }
        #expect(deliveries.map(\.text) == ["0", "1", "2"])
        await #expect { try await consumer.commit() } throws: { ($0 as? KafkaError)?.kind == .closed }
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == nil)
    }

    @Test func acknowledgementsFromManyTasksAreAllCounted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 4)
        try await cluster.fill(topic, partitions: 4, count: 2_000)
        var configuration = cluster.quickConsumer(topic)
        configuration.commitInterval = .milliseconds(1)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await withThrowingDiscardingTaskGroup { group in
                var count = 0
                for try await delivery in consumer.deliveries {
                    group.addTask {
                        await Task.yield()
                        delivery.acknowledge()
                    }
                    count += 1
                    if count == 8_000 { break }
                }
            }
            try await consumer.commit()
            let committed = try await GroupOffsets(cluster, configuration.group).committed(topic, partitions: 0...3)
            #expect(committed == [0: 2_000, 1: 2_000, 2: 2_000, 3: 2_000])
        }
    }
}
