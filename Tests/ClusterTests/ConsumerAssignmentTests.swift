import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Partitions that are named instead of given out by a group.
@Suite(.timeLimit(.minutes(5)))
struct ConsumerAssignmentTests {
    private func configuration(
        _ cluster: TestCluster,
        _ partitions: [KafkaTopicPartition],
        group: String? = nil
    ) -> KafkaConsumer.Configuration {
        KafkaConsumer.Configuration(
            bootstrapServers: cluster.bootstrapServers,
            partitions: partitions,
            group: group
        )
    }

    private func partitions(_ topic: String, _ numbers: Int...) -> [KafkaTopicPartition] {
        numbers.map { KafkaTopicPartition(topic: topic, partition: $0) }
    }

    @Test func withoutAGroupEverybodyReadsWhatTheyNameAndNothingIsCommitted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 3)
        try await cluster.fill(topic, partitions: 3, count: 5)
        let named = partitions(topic, 0, 2)
        for _ in 0..<2 {
            // Named twice is named once.
            let consumer = try KafkaConsumer(configuration(cluster, named + named), logger: .test)
            let deliveries = try await consumer.take(10)
            #expect(consumer.assignment == named)
            for partition in named {
                let offsets = deliveries.filter { $0.topicPartition == partition }.map(\.offset)
                #expect(offsets == [0, 1, 2, 3, 4])
            }
            for delivery in deliveries { delivery.acknowledge() }
            let refusal = await #expect(throws: KafkaError.self) { try await consumer.commit() }
            #expect(refusal?.kind == .invalidArgument)
            await #expect(throws: KafkaError.self) { _ = try await consumer.committed(named) }
            #expect(try await consumer.lag(of: named) == [named[0]: 0, named[1]: 0])
            #expect(try await consumer.seek(named[0], to: .committed) == 0)
            #expect(try await consumer.takeOffsets(2) == [0, 1])
            let summary = await expectWithin(.seconds(10)) { await consumer.close() }
            #expect(summary.uncommittedPartitions == 0)
            #expect(summary.leftGroup)
        }
    }

    @Test func acknowledgementsMakeRoomAlsoWithoutAGroup() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 100)
        var configuration = configuration(cluster, partitions(topic, 0))
        configuration.maximumUnsettledPerPartition = 5
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            var count = 0
            for try await delivery in consumer.deliveries {
                #expect(delivery.offset == Int64(count))
                delivery.acknowledge()
                count += 1
                if count == 100 { break }
            }
        }
    }

    @Test func aConsumerWithoutAGroupStartsWhereItIsTold() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        var configuration = configuration(cluster, partitions(topic, 0))
        configuration.start = .offset(7)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let offsets = try await consumer.takeOffsets(3)
            #expect(offsets == [7, 8, 9])
        }
        configuration.start = .committed
        configuration.autoOffsetReset = .end
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            let taken = Task { try await consumer.takeOffsets(1) }
            _ = try await events.first { event in if case .caughtUp = event { true } else { nil } }
            try await cluster.fill(topic, count: 1, from: 10)
            #expect(try await taken.value == [10])
        }
    }

    @Test func withAGroupWhatIsAcknowledgedIsCommittedAndAnotherGoesOnThere() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 10)
        let group = TestCluster.uniqueName("group")
        let configuration = configuration(cluster, partitions(topic, 1), group: group)
        let offsets = GroupOffsets(cluster, group)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            for delivery in try await consumer.take(6) { delivery.acknowledge() }
            try await consumer.commit()
            #expect(try await offsets.committed(topic, 1) == 6)
            #expect(try await offsets.committed(topic, 0) == nil)
            for delivery in try await consumer.take(1) { delivery.acknowledge() }
        }
        // Closing commits too.
        #expect(try await offsets.committed(topic, 1) == 7)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let offsets = try await consumer.takeOffsets(3)
            #expect(offsets == [7, 8, 9])
        }
    }

    @Test func whileAGroupHasMembersOthersCannotCommitForIt() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 4)
        let member = cluster.quickConsumer(topic)
        let outsider = try KafkaConsumer(
            configuration(cluster, partitions(topic, 0), group: member.group),
            logger: .test
        )
        let events = outsider.events
        try await withKafkaConsumer(member, logger: .test) { member in
            _ = try await member.take(1)
            for delivery in try await outsider.take(1) { delivery.acknowledge() }
            let refusal = await #expect(throws: KafkaError.self) { try await outsider.commit() }
            #expect(refusal?.recovery == .fixRequest)
            #expect(refusal?.reason.contains("has members") == true)
            _ = try await events.first { event in if case .commitFailed = event { true } else { nil } }
            // It goes on all the same.
            #expect(try await outsider.takeOffsets(2) == [1, 2])
        }
        await outsider.close(within: .seconds(5))
    }

    @Test func namedPartitionsThatDoNotExistAreToldAndReadWhenTheyDo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let later = TestCluster.uniqueName("later")
        if TestCluster.isMock { try cluster.mock.setError(.unknownTopicOrPartition, forTopic: later) }
        try await cluster.fill(topic, count: 2)
        let named = partitions(topic, 0, 7) + partitions(later, 0)
        var configuration = configuration(cluster, named)
        configuration.metadataRefreshInterval = .milliseconds(200)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        #expect(try await consumer.takeOffsets(2) == [0, 1])
        var told: Set<KafkaTopicPartition> = []
        while told.count < 2 {
            try await events.first { event -> Void? in
                guard case .problem(let error, let partition?) = event, error.kind == .unknownTopicOrPartition else {
                    return nil
                }
                #expect(error.reason.contains("does not exist"))
                // Once each.
                let isNew = told.insert(partition).inserted
                #expect(isNew)
                return ()
            }
        }
        #expect(told == [named[1], named[2]])
        if TestCluster.isMock {
            try cluster.mock.setError(.none, forTopic: later)
        } else {
            try await cluster.makeTopic(exactly: later)
        }
        try await cluster.fill(later, count: 1)
        let delivery = try await consumer.take(1)
        #expect(delivery.map(\.topicPartition) == [named[2]])
        delivery[0].acknowledge()
        await consumer.close()
    }
}
