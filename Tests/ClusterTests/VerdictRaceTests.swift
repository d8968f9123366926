import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Verdicts from everywhere at once, and a partition that goes away while deliveries are in every state.
@Suite(.timeLimit(.minutes(5)))
struct VerdictRaceTests {
    private struct Failure: Error, CustomStringConvertible {
        let description: String

        init(_ description: String = "not today") {
            self.description = description
        }
    }

    @Test func ofVerdictsFromManyTasksTheFirstCounts() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let count = 200
        try await cluster.fill(topic, count: count)
        let configuration = cluster.quickConsumer(topic)
        var seen: [[Int]] = Array(repeating: [], count: count)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            for try await delivery in consumer.deliveries {
                seen[Int(delivery.offset)].append(delivery.attempt)
                // It comes when every one before it is settled: what was rejected comes again before what is later.
                if delivery.offset == count - 1 {
                    delivery.acknowledge()
                    break
                }
                // Whichever is first: either the next one comes, or this one again.
                await withDiscardingTaskGroup { group in
                    for number in 0..<8 {
                        group.addTask {
                            if number % 2 == 0 { delivery.acknowledge() } else { delivery.negativelyAcknowledge() }
                        }
                    }
                }
            }
            try await consumer.commit()
        }
        for (offset, attempts) in seen.enumerated() {
            #expect(attempts == Array(1...max(attempts.count, 1)), "\(offset) is counted one by one")
        }
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == Int64(count))
    }

    @Test func aRevokedPartitionIsCommittedUpToWhatIsUnsettledInWhateverState() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 5)
        var configuration = cluster.quickConsumer(topic)
        configuration.revocationTimeout = .milliseconds(200)
        configuration.commitInterval = .seconds(3_600)
        // As long as a busy machine may keep a member from joining again: the other one would get all partitions.
        if TestCluster.isMock { configuration.sessionTimeout = .seconds(9) }
        let offsets = GroupOffsets(cluster, configuration.group)

        let first = try KafkaConsumer(configuration, logger: .test)
        let events = first.events
        var mine: [Int: [KafkaConsumer.Delivery]] = [:]
        for delivery in try await first.take(10) { mine[delivery.partition, default: []].append(delivery) }
        for deliveries in mine.values {
            deliveries[0].acknowledge()  // settled, and not committed
            deliveries[2].negativelyAcknowledge(after: .seconds(3_600))  // rejected, and waiting
            deliveries[3].acknowledge()  // settled behind what is not
        }  // 1 and 4 are held
        let second = try KafkaConsumer(configuration, logger: .test)
        let taking = Task {
            var taken: [KafkaConsumer.Delivery] = []
            for try await delivery in second.deliveries {
                taken.append(delivery)
                if delivery.offset == 4 { break }
            }
            return taken
        }
        let (revoked, unsettled) = try await events.first { event -> ([KafkaTopicPartition], Int)? in
            switch event {
            case .revoked(let partitions, let unsettled), .lost(let partitions, let unsettled):
                partitions.isEmpty ? nil : (partitions, unsettled)
            default: nil
            }
        }
        #expect(unsettled == 3 * revoked.count)
        let partition = try #require(revoked.first?.partition)
        let committed = try await offsets.committed(topic, partition)
        // The mock brokers may refuse a commit as soon as the group rebalances, which real ones do not.
        #expect(committed == 1 || (TestCluster.isMock && committed == nil))
        // Too late, all of them, and so they change nothing.
        for delivery in mine[partition] ?? [] {
            delivery.acknowledge()
            delivery.negativelyAcknowledge()
        }
        let taken = try await taking.value
        #expect(
            taken.map(\.offset) == Array((committed ?? 0)..<5),
            "the new owner gets what was not committed, in order"
        )
        #expect(Set(taken.map(\.partition)) == [partition])
        #expect(taken.allSatisfy { $0.attempt == 1 })
        for delivery in taken { delivery.acknowledge() }
        try await second.commit()
        #expect(try await offsets.committed(topic, partition) == 5)
        await second.close()
        // What the test has in hand of the other partition is not waited for.
        await first.close(within: .seconds(1))
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aDeadLetterIsNotPublishedByWhomThePartitionWasTakenFrom() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        // The dead letters have a cluster of their own, which is away.
        let away = try TestCluster()
        let letters = try await away.makeTopic(name: "letters")
        try away.mock.takeDown()
        var settings = away.producerConfiguration()
        settings.messageTimeout = .milliseconds(200)
        let producer = try KafkaProducer(settings, logger: .test)
        var configuration = cluster.quickConsumer(topic)
        configuration.revocationTimeout = .milliseconds(100)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let events = consumer.events
        let handling = Task {
            try await consumer.forEach(
                retry: .none,
                deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
            ) { _ in throw Failure() }
        }
        try await events.first { if case .deadLetterFailed = $0 { () } else { nil } }
        let summary = await consumer.close(within: .seconds(2))
        #expect(summary.unsettled == 1)
        try await handling.value
        try away.mock.bringUp()
        await producer.close()
        #expect(try await Kcat(away).count(letters, partition: 0) == 0)
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == nil)
    }

    @Test func aDeadLetterThatIsTooLargeGoesWithoutTheErrorsText() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let letters = try await cluster.makeTopic(name: "letters")
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            try await producer.send(KafkaMessage(topic: topic, value: String(repeating: "v", count: 900)))
        }
        var settings = cluster.producerConfiguration()
        settings.maximumMessageBytes = 2_000
        let producer = try KafkaProducer(settings, logger: .test)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let events = consumer.events
            async let handling: Void = consumer.forEach(
                retry: .none,
                deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
            ) { _ in throw Failure(String(repeating: "e", count: 3_000)) }
            try await events.first { if case .deadLettered = $0 { () } else { nil } }
            await consumer.close()
            try await handling
        }
        try await withKafkaConsumer(cluster.quickConsumer(letters), logger: .test) { consumer in
            let delivery = try #require(try await consumer.take(1).first)
            #expect(delivery.text.count == 900)
            #expect(delivery.deadLetter?.exceptionType?.hasSuffix("Failure") == true)
            #expect(delivery.deadLetter?.exceptionMessage == nil)
        }
        await producer.close()
    }

    @Test func aDeadLetterThatIsTooLargeEvenSoIsTriedAgainAndSeenAndNeverSkipped() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let letters = try await cluster.makeTopic(name: "letters")
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for size in [5_000, 1] {
                try await producer.send(KafkaMessage(topic: topic, value: String(repeating: "v", count: size)))
            }
        }
        var settings = cluster.producerConfiguration()
        settings.maximumMessageBytes = 1_000
        let producer = try KafkaProducer(settings, logger: .test)
        let configuration = cluster.quickConsumer(topic)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            async let handling: Void = consumer.forEach(
                retry: .none,
                deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
            ) { _ in throw Failure() }
            for _ in 0..<2 {
                let error = try await events.first { event -> KafkaError? in
                    if case .deadLetterFailed(_, let error) = event { error } else { nil }
                }
                #expect(error.kind == .messageTooLarge)
            }
            #expect(await consumer.close().unsettled == 1)
            try await handling
        }
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == nil)
        await producer.close()
    }

    @Test func aHandlerThatSettlesAndThenThrowsHasSettled() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let letters = try await cluster.makeTopic(name: "letters")
        try await cluster.fill(topic, count: 3)
        let configuration = cluster.quickConsumer(topic)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let handled = Shared<[String]>([])
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await consumer.forEach(
                retry: .none,
                deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
            ) { delivery in
                handled.change { $0.append("\(delivery.offset).\(delivery.attempt)") }
                switch (delivery.offset, delivery.attempt) {
                case (0, _):
                    delivery.acknowledge()
                    throw Failure()
                case (1, 1):
                    delivery.negativelyAcknowledge()
                    throw Failure()
                case (2, _): Task { await consumer.close() }
                default: break
                }
            }
        }
        #expect(handled.value == ["0.1", "1.1", "1.2", "2.1"])
        #expect(try await Kcat(cluster).count(letters, partition: 0) == 0, "what has its verdict is not given up too")
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 3)
        await producer.close()
    }

    @Test func aBackoffLongerThanThePollIntervalKeepsTheMembership() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 1)
        var configuration = cluster.quickConsumer(topic)
        let interval = TestCluster.isMock ? 8_000 : 6_000
        configuration.additionalProperties["max.poll.interval.ms"] = "\(interval)"
        let generations = Shared<[Int]>([])
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            try await consumer.forEach(
                retry: .fixed(.milliseconds(interval + 1_000), maximumAttempts: 2)
            ) { delivery in
                guard delivery.partition == 0 else { return }
                generations.change { $0.append(delivery.generation) }
                if delivery.attempt == 1 { throw Failure() }
                Task { await consumer.close() }
            }
            var assignments = 0
            for await event in events {
                if case .assigned(let partitions, _) = event, !partitions.isEmpty { assignments += 1 }
                if case .lost = event { Issue.record("the partitions were lost") }
            }
            #expect(assignments == 1)
        }
        #expect(generations.value.count == 2)
        #expect(Set(generations.value).count == 1)
    }
}
