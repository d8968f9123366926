import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Standing still.
@Suite(.timeLimit(.minutes(5)))
struct ConsumerPauseTests {
    @Test func aPausedPartitionHandsOutNothingAndGoesOnWhereItStood() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 20)
        let paused = KafkaTopicPartition(topic: topic, partition: 0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            var offsets: [Int: [Int64]] = [:]
            func take(_ count: Int) async throws {
                for delivery in try await consumer.take(count) {
                    offsets[delivery.partition, default: []].append(delivery.offset)
                    delivery.acknowledge()
                }
            }
            try await take(1)
            try consumer.pause([paused])
            #expect(consumer.pausedPartitions == [paused])
            let before = offsets[0]?.count ?? 0
            // All the rest of the other one, and what is sent to both meanwhile.
            try await take(20 - (offsets[1]?.count ?? 0))
            try await cluster.fill(topic, partitions: 2, count: 1, from: 20)
            try await take(1)
            #expect(offsets[1] == Array(0...20))
            #expect(offsets[0]?.count ?? 0 == before)

            consumer.resume([paused])
            #expect(consumer.pausedPartitions == [])
            try await take(21 - before)
            #expect(offsets[0] == Array(0...20))
        }
    }

    @Test func aPausedPartitionCommitsWhatIsAcknowledgedAndKeepsWhatIsDueAgain() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        let configuration = cluster.quickConsumer(topic)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(2)
            try consumer.pause([partition])
            deliveries[0].acknowledge()
            deliveries[1].negativelyAcknowledge()
            try await consumer.commit()
            #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 1)
            let next = Task { try await consumer.take(2).map { [Int($0.offset), $0.attempt] } }
            // The waiting loop is there, and is given nothing.
            for _ in 0..<100 { await Task.yield() }
            consumer.resume([partition])
            #expect(try await next.value == [[1, 2], [2, 1]])
        }
    }

    @Test func aPartitionThatIsAssignedAgainIsNotPaused() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 1)
        // Eager, so that both partitions are revoked when another member comes.
        let configuration = cluster.quickConsumer(topic, strategy: .range)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        for delivery in try await consumer.take(2) { delivery.acknowledge() }
        try consumer.pause(consumer.assignment)
        #expect(consumer.pausedPartitions.count == 2)
        let other = try KafkaConsumer(configuration, logger: .test)
        let otherLoop = Task { for try await delivery in other.deliveries { delivery.acknowledge() } }
        _ = try await events.first { event in
            if case .assigned(let partitions, 2) = event { partitions.count } else { nil }
        }
        #expect(consumer.assignment.count == 1)
        #expect(consumer.pausedPartitions == [])
        await other.close()
        try await otherLoop.value
        await consumer.close()
    }

    @Test func whatIsNotAssignedCannotBePaused() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        let mine = KafkaTopicPartition(topic: topic, partition: 0)
        let foreign = KafkaTopicPartition(topic: topic, partition: 7)
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        #expect(throws: KafkaError.self) { try consumer.pause([mine]) }
        _ = try await consumer.take(1)
        let error = #expect(throws: KafkaError.self) { try consumer.pause([mine, foreign]) }
        #expect(error?.kind == .assignmentEnded)
        #expect(error?.reason.contains("\(foreign)") == true)
        #expect(consumer.pausedPartitions == [])
        consumer.resume([foreign])
        await consumer.close()
        let late = #expect(throws: KafkaError.self) { try consumer.pause([mine]) }
        #expect(late?.kind == .closed)
    }
}
