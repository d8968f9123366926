import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Knowing where one is.
@Suite(.timeLimit(.minutes(5)))
struct ConsumerPositionTests {
    @Test func watermarksCommittedOffsetsAndLagAreWhatTheBrokersSay() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 3)
        let other = try await cluster.makeTopic(partitions: 2, name: "other")
        try await cluster.fill(topic, partitions: 2, count: 10)
        try await cluster.fill(other, partitions: 1, count: 4)
        let configuration = cluster.quickConsumer(topic)
        let mine = (0..<3).map { KafkaTopicPartition(topic: topic, partition: $0) }
        let foreign = (0..<2).map { KafkaTopicPartition(topic: other, partition: $0) }
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            #expect(consumer.assignment == [])
            #expect(consumer.position(of: mine[0]) == nil)
            for delivery in try await consumer.take(20) where delivery.partition == 0 && delivery.offset < 6 {
                delivery.acknowledge()
            }
            try await consumer.commit()
            #expect(consumer.assignment == mine)
            #expect(mine.prefix(2).map { consumer.position(of: $0) } == [10, 10])
            #expect(consumer.position(of: foreign[0]) == nil)

            let watermarks = try await consumer.watermarks(of: mine + foreign)
            #expect(
                watermarks.mapValues(\.end) == [
                    mine[0]: 10, mine[1]: 10, mine[2]: 0, foreign[0]: 4, foreign[1]: 0,
                ]
            )
            #expect(Set(watermarks.values.map(\.beginning)) == [0])
            #expect(try await consumer.committed(mine + foreign) == [mine[0]: 6])
            #expect(try await consumer.lag(of: mine) == [mine[0]: 4, mine[1]: 10, mine[2]: 0])
            #expect(try await consumer.watermarks(of: []) == [:])
        }
    }

    @Test func anEmptyPartitionHasAPositionOnceItsEndWasMet() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let events = consumer.events
            let reading = Task { try await consumer.take(1) }
            _ = try await events.first { event in if case .caughtUp(partition, _) = event { true } else { nil } }
            #expect(consumer.position(of: partition) == 0)
            try await cluster.fill(topic, count: 1)
            _ = try await reading.value
            #expect(consumer.position(of: partition) == 1)
        }
    }

    @Test(.enabled(if: TestCluster.isMock)) func questionsEndByTheirDeadlineWhateverTheBrokersDo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        let partitions = [KafkaTopicPartition(topic: topic, partition: 0)]
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        _ = try await consumer.take(1)
        try cluster.mock.setRoundTripTime(.seconds(60))
        try await expectWithin(.seconds(10)) {
            // All at once: they wait for one another, and each keeps its own time.
            try await withThrowingTaskGroup(of: KafkaError?.self) { group in
                for number in 0..<9 {
                    group.addTask {
                        do throws(KafkaError) {
                            switch number % 3 {
                            case 0: _ = try await consumer.watermarks(of: partitions, within: .milliseconds(500))
                            case 1: _ = try await consumer.committed(partitions, within: .milliseconds(500))
                            default: _ = try await consumer.lag(of: partitions, within: .milliseconds(500))
                            }
                            return nil
                        } catch {
                            return error
                        }
                    }
                }
                for try await error in group { #expect(error?.recovery == .retry) }
            }
        }
        try cluster.mock.setRoundTripTime(.zero)
        await consumer.close(within: .seconds(2))
    }

    @Test(.enabled(if: TestCluster.isMock)) func aCancelledQuestionEndsAtOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let partitions = [KafkaTopicPartition(topic: topic, partition: 0)]
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
        try cluster.mock.takeDown()
        let question = Task { () throws(KafkaError) in
            try await consumer.watermarks(of: partitions, within: .seconds(3))
        }
        question.cancel()
        let result = await question.result
        #expect(throws: KafkaError.self) { try result.get() }
        if case .failure(let error as KafkaError) = result { #expect(error.kind == .cancelled) }
        await consumer.close(within: .seconds(1))
    }

    /// The mock brokers find no offset by its timestamp, so that it starts at the end; that is enough to see that it does.
    @Test(.enabled(if: TestCluster.isMock)) func aStartAtATimestampWaitsForBrokersThatDoNotAnswer() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        var configuration = cluster.quickConsumer(topic)
        configuration.start = .timestamp(KafkaTimestamp(millisecondsSince1970: 1_700_000_000_000))
        // Longer than one round of tries, in which librdkafka asks for the end for itself too.
        try cluster.mock.inject(Array(repeating: .requestTimedOut, count: 200), into: .listOffsets)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        let taken = Task { try await consumer.take(1) }
        let problem = try await events.first { event in
            if case .problem(let error, _) = event, error.kind == .timedOut { error } else { nil }
        }
        #expect(problem.recovery == .retry)
        try cluster.mock.clearErrors(for: .listOffsets)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        // It was brought to the end, and nothing from before is handed out.
        try await waitUntil { consumer.position(of: partition) == 10 }
        try await cluster.fill(topic, count: 1, from: 10)
        for delivery in try await taken.value {
            #expect(delivery.text == "10")
            delivery.acknowledge()
        }
        await consumer.close()
    }
}
