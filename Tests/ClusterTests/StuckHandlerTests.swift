import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Handlers that hang.
@Suite(.timeLimit(.minutes(5)))
struct StuckHandlerTests {
    @Test func aDeliveryThatIsInHandForTooLongIsToldOnceForEachAttempt() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        var configuration = cluster.quickConsumer(topic)
        configuration.handlerTimeout = .milliseconds(200)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        func nextStuck() async throws -> (Int64, Duration) {
            try await events.first { event in
                if case .stuck(let source, let age) = event { (source.offset, age) } else { nil }
            }
        }
        let start = ContinuousClock.now
        let deliveries = try await consumer.take(2)
        // Of two that are in hand only one is slow; on a busy machine this may come too late for the other, too.
        deliveries[0].acknowledge()
        var (offset, age) = try await nextStuck()
        if offset == 0 { (offset, age) = try await nextStuck() }
        #expect(offset == 1)
        #expect(age >= .milliseconds(200))
        #expect(start.duration(to: .now) >= .milliseconds(200))
        deliveries[1].negativelyAcknowledge()
        let again = try await consumer.take(1)
        #expect(again.map(\.attempt) == [2])
        #expect(try await nextStuck().0 == 1)
        // It is told and nothing else: the verdict counts.
        again[0].acknowledge()
        try await consumer.commit()
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 2)
        await consumer.close()
        // Once for each attempt: there is no third.
        for await event in events { if case .stuck = event { Issue.record("told again: \(event)") } }
    }

    @Test func whatIsStuckIsTakenByAnotherMemberAndTheGroupJoinedAgainAfterwards() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        var configuration = cluster.quickConsumer(topic)
        // In the other protocol the brokers may give the partition to the second at once, and do not tell a member that it has none.
        configuration.useClassicGroupProtocol()
        let second = try KafkaConsumer(configuration, logger: .test)
        // Long beside the moment between a delivery that is taken and its acknowledgement, also on a busy machine: a consumer
        // that leaves for the first delivery tells nothing of the second.
        configuration.handlerTimeout = .seconds(10)
        configuration.stuckHandling = .leaveGroup
        // Nothing in hand but what is stuck: the revocation does not wait for this.
        configuration.revocationTimeout = .seconds(60)
        let first = try KafkaConsumer(configuration, logger: .test)
        let events = first.events
        for delivery in try await first.take(1) { delivery.acknowledge() }
        // A member without a partition, until the first gives it up.
        let secondEvents = second.events
        let taken = Task { try await second.take(2) }
        _ = try await secondEvents.first { event in if case .assigned([], _) = event { true } else { nil } }
        let deliveries = try await first.take(1)
        let source = try await events.first { event in
            if case .stuck(let source, _) = event { source } else { nil }
        }
        #expect(source.offset == 1)
        let revoked = try await events.first { event in
            if case .revoked(let partitions, let unsettled) = event { (partitions.count, unsettled) } else { nil }
        }
        #expect(revoked == (1, 1))
        // What was acknowledged was committed, and what was stuck is delivered again.
        let again = try await taken.value
        #expect(again.map(\.offset) == [1, 2])
        again[0].acknowledge()
        try await second.commit()
        let offsets = GroupOffsets(cluster, configuration.group)
        #expect(try await offsets.committed(topic) == 2)

        // The handler ends after all: its verdict changes nothing, and the consumer is back.
        deliveries[0].acknowledge()
        again[1].acknowledge()
        await second.close()
        let generation = try await {
            let next = Task { try await first.take(1) }
            let generation = try await events.first { event in
                if case .assigned(let partitions, let generation) = event, !partitions.isEmpty {
                    generation
                } else {
                    nil
                }
            }
            try await cluster.fill(topic, count: 1, from: 3)
            for delivery in try await next.value {
                #expect(delivery.text == "3")
                delivery.acknowledge()
            }
            return generation
        }()
        #expect(generation >= 2)
        let summary = await first.close()
        #expect(summary.lateVerdicts == 1)
        #expect(try await offsets.committed(topic) == 4)
    }

    /// An eager group, and a delivery that is let go of instead of getting a verdict.
    @Test func aConsumerThatLeftItsGroupComesBackWhenWhatWasStuckIsLetGoOf() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 2)
        var configuration = cluster.quickConsumer(topic, strategy: .range)
        // Long beside the moment in which four deliveries are taken and acknowledged, also on a busy machine.
        configuration.handlerTimeout = .seconds(10)
        configuration.stuckHandling = .leaveGroup
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        var stuck = try await consumer.take(1)
        #expect(stuck.map(\.generation) == [1])
        _ = try await events.first { event in if case .revoked = event { true } else { nil } }
        #expect(consumer.assignment == [])
        stuck.removeAll()
        let all = try await consumer.take(4)
        #expect(Set(all.map(\.generation)) == [2])
        for delivery in all { delivery.acknowledge() }
        await consumer.close()
        let committed = try await GroupOffsets(cluster, configuration.group).committed(topic, partitions: 0...1)
        #expect(committed == [0: 2, 1: 2])
    }

    @Test func aConsumerThatLeftItsGroupCanBeClosed() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        var configuration = cluster.quickConsumer(topic)
        configuration.handlerTimeout = .milliseconds(300)
        configuration.stuckHandling = .leaveGroup
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        let stuck = try await consumer.take(1)
        _ = try await events.first { event in if case .revoked = event { true } else { nil } }
        let summary = await expectWithin(.seconds(10)) { await consumer.close(within: .seconds(20)) }
        #expect(summary.leftGroup)
        stuck[0].acknowledge()
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == nil)
    }

    /// More partitions than a listener keeps events for when nothing is assigned.
    @Test(.enabled(if: TestCluster.isMock, "it needs many partitions"))
    func noPartitionsEndIsForgottenWhileAListenerIsBusy() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 400)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let unread = consumer.events
        let read = consumer.events
        let loop = Task { for try await _ in consumer.deliveries {} }
        func ends(_ events: KafkaConsumer.Events, _ count: Int) async -> Set<KafkaTopicPartition> {
            var ends: Set<KafkaTopicPartition> = []
            for await event in events {
                if case .caughtUp(let partition, _) = event { ends.insert(partition) }
                if ends.count == count { break }
            }
            return ends
        }
        #expect(await ends(read, 400).count == 400)
        // Not read until now.
        #expect(await ends(unread, 400).count == 400)
        await consumer.close()
        try await loop.value
    }
}
