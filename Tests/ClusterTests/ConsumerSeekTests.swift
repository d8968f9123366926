import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Going elsewhere.
@Suite(.timeLimit(.minutes(5)))
struct ConsumerSeekTests {
    @Test func whatWasFetchedBeforeASeekIsNeverHandedOut() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 2_000)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            _ = try await consumer.take(3)
            for _ in 0..<60 {
                let target = Int64.random(in: 0..<1_990)
                #expect(try await consumer.seek(partition, to: .offset(target)) == target)
                #expect(consumer.position(of: partition) == target)
                // Sometimes many, so that some are read while fetches of the old place are still on their way.
                let count = Int.random(in: 1...8)
                let offsets = try await consumer.takeOffsets(count)
                #expect(offsets == (0..<count).map { target + Int64($0) })
                #expect(consumer.position(of: partition) == target + Int64(count))
            }
        }
    }

    @Test func aLoopThatRunsGoesOnWhereASeekPutsIt() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1_000)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let seen = Shared<[Int64]>([])
        let loop = Task {
            for try await delivery in consumer.deliveries {
                delivery.acknowledge()
                seen.change { $0.append(delivery.offset) }
            }
        }
        var starts: [Int64] = [0]
        try await seen.wait { !$0.isEmpty }
        for number in 1...20 {
            let target = Int64(number * 37 % 900)
            starts.append(target)
            let count = seen.value.count
            try await consumer.seek(partition, to: .offset(target))
            try await seen.wait { $0.dropFirst(count).contains(target) }
        }
        try await seen.wait { $0.last == 999 }
        await consumer.close()
        try await loop.value
        // Runs without a gap, each from where a seek put it.
        let offsets = seen.value
        var heads = [offsets[0]]
        for (before, after) in zip(offsets, offsets.dropFirst()) where after != before + 1 { heads.append(after) }
        #expect(heads.count <= starts.count)
        #expect(Set(heads).isSubset(of: starts))
    }

    @Test func aSeekBackwardsLetsASmallerOffsetBeCommitted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let configuration = cluster.quickConsumer(topic)
        let offsets = GroupOffsets(cluster, configuration.group)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            for delivery in try await consumer.take(10) { delivery.acknowledge() }
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == 10)
            #expect(try await consumer.seek(partition, to: .offset(3)) == 3)
            // The seek itself commits nothing.
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == 10)
            let again = try await consumer.take(2)
            #expect(again.map(\.offset) == [3, 4])
            #expect(again.map(\.attempt) == [1, 1])
            again[0].acknowledge()
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == 4)
            again[1].acknowledge()
        }
        #expect(try await offsets.committed(topic) == 5)
    }

    @Test func verdictsFromBeforeASeekChangeNothing() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        var configuration = cluster.quickConsumer(topic)
        configuration.commitInterval = .seconds(60)
        let offsets = GroupOffsets(cluster, configuration.group)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        let old = try await consumer.take(6)
        // Acknowledged, not yet committed, and behind a seek that skips.
        old[0].acknowledge()
        try await consumer.seek(partition, to: .offset(8))
        for delivery in old[1...4] { delivery.acknowledge() }
        old[5].negativelyAcknowledge()
        try await consumer.commit()
        #expect(try await offsets.committed(topic) == nil)
        let new = try await consumer.take(2)
        #expect(new.map(\.offset) == [8, 9])
        new[0].acknowledge()
        try await consumer.commit()
        #expect(try await offsets.committed(topic) == 9)
        let summary = await consumer.close(within: .seconds(5))
        #expect(summary.lateVerdicts == 5)
        #expect(summary.unsettled == 1)
        #expect(summary.uncommittedPartitions == 0)
    }

    @Test func whatWaitedForAnotherAttemptIsDroppedByASeek() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let first = try await consumer.take(1)
            // It holds the whole partition back for longer than the test.
            first[0].negativelyAcknowledge(after: .seconds(600))
            try await consumer.seek(partition, to: .offset(5))
            #expect(try await consumer.takeOffsets(5) == [5, 6, 7, 8, 9])
        }
    }

    /// A key that backs off holds back the later ones of its key, and what ended that was dropped by the seek.
    @Test func aKeyThatBacksOffIsHandledAgainAfterASeek() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for number in 0..<4 {
                _ = try await producer.send(KafkaMessage(topic: topic, partition: 0, key: "one", value: "\(number)"))
            }
        }
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let handled = Shared<[String]>([])
        let loop = Task {
            try await consumer.forEach(
                concurrency: .perKey(maximum: 4),
                retry: .fixed(.seconds(600), maximumAttempts: nil)
            ) { delivery in
                let isFirst = handled.change { handled in
                    handled.append(delivery.text)
                    return handled.count == 1
                }
                if isFirst { throw TestFailure("the first time") }
            }
        }
        let events = consumer.events
        _ = try await events.first { event in if case .retried = event { true } else { nil } }
        try await consumer.seek(partition, to: .beginning)
        try await handled.wait { $0.count == 5 }
        #expect(handled.value == ["0", "0", "1", "2", "3"])
        await consumer.close()
        try await loop.value
    }

    @Test func aSeekGoesToTheBeginningTheEndAndWhatIsCommitted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 10)
        let configuration = cluster.quickConsumer(topic)
        let both = (0..<2).map { KafkaTopicPartition(topic: topic, partition: $0) }
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            for delivery in try await consumer.take(20) where delivery.partition == 0 && delivery.offset < 7 {
                delivery.acknowledge()
            }
            try await consumer.commit()
            #expect(try await consumer.seek(both, to: .end) == [both[0]: 10, both[1]: 10])
            try await cluster.fill(topic, partitions: 2, count: 1, from: 10)
            #expect(try await consumer.take(2).map(\.text) == ["10", "10"])
            #expect(try await consumer.seek(both, to: .beginning) == [both[0]: 0, both[1]: 0])
            #expect(try await consumer.take(22).filter { $0.partition == 1 }.map(\.offset) == Array(0...10))
            // Nothing is committed for the second: it goes to where a new group starts.
            #expect(try await consumer.seek(both, to: .committed) == [both[0]: 7, both[1]: 0])
            try consumer.pause([both[1]])
            #expect(try await consumer.takeOffsets(4) == [7, 8, 9, 10])
        }
    }

    @Test func aSeekBehindTheEndGoesToTheEndAndSaysWhereThatIs() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            _ = try await consumer.take(10)
            #expect(try await consumer.seek(partition, to: .offset(5_000)) == 10)
            #expect(try await consumer.seek(partition, to: .last(4)) == 6)
            #expect(try await consumer.seek(partition, to: .last(40)) == 0)
            #expect(try await consumer.seek(partition, to: .offset(5_000)) == 10)
            try await cluster.fill(topic, count: 1, from: 10)
            #expect(try await consumer.take(1).map(\.text) == ["10"])
        }
    }

    /// The mock brokers find no offset by its timestamp.
    @Test(.enabled(if: !TestCluster.isMock)) func aSeekGoesToATimestamp() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        func second(_ number: Int) -> KafkaTimestamp {
            KafkaTimestamp.earlier.advanced(milliseconds: number * 1_000)
        }
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for number in 0..<10 {
                let message = KafkaMessage(topic: topic, value: "\(number)", timestamp: second(number))
                _ = try await producer.send(message)
            }
        }
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            _ = try await consumer.take(10)
            #expect(try await consumer.seek(partition, to: .timestamp(second(4))) == 4)
            #expect(try await consumer.takeOffsets(2) == [4, 5])
            // Later than all of them.
            #expect(try await consumer.seek(partition, to: .timestamp(second(11))) == 10)
        }
    }

    @Test func aSeekOfAPausedPartitionLeavesItPaused() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            _ = try await consumer.take(1)
            try consumer.pause([partition])
            try await consumer.seek(partition, to: .offset(6))
            #expect(consumer.pausedPartitions == [partition])
            consumer.resume([partition])
            #expect(try await consumer.takeOffsets(2) == [6, 7])
        }
    }

    @Test func whatIsNotAssignedCannotBeSought() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        let mine = KafkaTopicPartition(topic: topic, partition: 0)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let early = await #expect(throws: KafkaError.self) { try await consumer.seek(mine, to: .beginning) }
        #expect(early?.kind == .assignmentEnded)
        _ = try await consumer.take(1)
        let negative = await #expect(throws: KafkaError.self) { try await consumer.seek(mine, to: .offset(-1)) }
        #expect(negative?.kind == .invalidArgument)
        await consumer.close()
        let late = await #expect(throws: KafkaError.self) { try await consumer.seek(mine, to: .beginning) }
        #expect(late?.kind == .closed)
    }

    @Test(.enabled(if: TestCluster.isMock)) func aSeekThatFindsNoBrokerLeavesThePartitionWhereItWas() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        #expect(try await consumer.takeOffsets(2) == [0, 1])
        try cluster.mock.takeDown()
        let error = await expectWithin(.seconds(10)) {
            await #expect(throws: KafkaError.self) {
                try await consumer.seek(partition, to: .end, within: .milliseconds(300))
            }
        }
        #expect(error?.recovery == .retry)
        // These were fetched before, or are now: a mock broker answers with one batch at a time.
        try cluster.mock.bringUp()
        #expect(try await consumer.takeOffsets(2) == [2, 3])
        await consumer.close(within: .seconds(5))
    }

    @Test func revocationAndClosingDoNotWaitForDeliveriesFromBeforeASeek() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        let held = try await consumer.take(5)
        try await consumer.seek(partition, to: .offset(7))
        let summary = await expectWithin(.seconds(10)) { await consumer.close(within: .seconds(60)) }
        #expect(summary.unsettled == 0)
        #expect(held.count == 5)
    }

    @Test(arguments: [KafkaConsumer.Configuration.AssignmentStrategy.range, .cooperativeSticky])
    func aPartitionThatHasFailedIsReadAgainWhenItIsSought(
        strategy: KafkaConsumer.Configuration.AssignmentStrategy
    ) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 10)
        let both = (0..<2).map { KafkaTopicPartition(topic: topic, partition: $0) }
        var configuration = cluster.quickConsumer(topic, strategy: strategy)
        configuration.autoOffsetReset = .failure
        configuration.start = .offset(1_000)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let refusal = await #expect(throws: KafkaError.self) { try await consumer.take(1) }
        #expect(refusal?.kind == .offsetOutOfRange)
        let found = try await expectWithin(.seconds(20)) { try await consumer.seek(both, to: .beginning) }
        #expect(found == [both[0]: 0, both[1]: 0])
        let again = try await consumer.take(20)
        for partition in both {
            let offsets = again.filter { $0.topicPartition == partition }.map(\.offset)
            #expect(offsets == Array(0..<10))
        }
        for delivery in again { delivery.acknowledge() }
        try await consumer.commit()
        // As any other from there on.
        #expect(try await consumer.seek(both[1], to: .offset(4)) == 4)
        #expect(try await consumer.takeOffsets(1) == [4])
        await consumer.close()
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic, 0) == 10)
    }

    @Test func aNamedPartitionThatHasFailedIsReadAgainWhenItIsSought() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: cluster.bootstrapServers,
            partitions: [partition]
        )
        configuration.autoOffsetReset = .failure
        configuration.start = .offset(1_000)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let refusal = await #expect(throws: KafkaError.self) { try await consumer.take(1) }
        #expect(refusal?.kind == .offsetOutOfRange)
        #expect(try await consumer.seek(partition, to: .offset(1)) == 1)
        #expect(try await consumer.takeOffsets(2) == [1, 2])
        await consumer.close()
    }
}
