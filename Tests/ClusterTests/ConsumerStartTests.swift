import KafkaDelivery
import KafkaDeliveryTesting
import Testing

@Suite(.timeLimit(.minutes(5)))
struct ConsumerStartTests {
    @Test func aNewGroupStartsAtTheBeginning() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let offsets = try await consumer.takeOffsets(3)
            #expect(offsets == [0, 1, 2])
        }
    }

    @Test(arguments: [true, false])
    func aConsumerCanStartAtTheEnd(ofANewGroupOnly: Bool) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        var configuration = cluster.quickConsumer(topic)
        if ofANewGroupOnly { configuration.autoOffsetReset = .end } else { configuration.start = .end }
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            // What is sent before the end was looked up is not received, so there is always one more.
            let sending = Task {
                try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                    while !Task.isCancelled { _ = try await producer.send(KafkaMessage(topic: topic, value: "new")) }
                }
            }
            let deliveries = try await consumer.take(3)
            sending.cancel()
            _ = await sending.result
            #expect(deliveries[0].offset >= 10)
            #expect(deliveries.allSatisfy { $0.text == "new" })
            #expect(deliveries.map(\.offset) == (0..<3).map { deliveries[0].offset + $0 })
        }
    }

    @Test func aConsumerCanStartAtAnOffsetWhateverWasCommitted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 10)
        var configuration = cluster.quickConsumer(topic)
        configuration.start = .offset(7)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(3)
            #expect(deliveries.map(\.offset) == [7, 8, 9])
            for delivery in deliveries { delivery.acknowledge() }
        }
        let offsets = GroupOffsets(cluster, configuration.group)
        #expect(try await offsets.committed(topic) == 10)
        // The group has committed 10 by now, and this consumer starts where it is told to.
        configuration.start = .offset(2)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(2)
            #expect(deliveries.map(\.offset) == [2, 3])
        }
        configuration.start = .beginning
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(1)
            #expect(deliveries.map(\.offset) == [0])
        }
    }

    @Test func aStartBehindTheEndBeginsAtTheEndAndSaysSoOfEachPartition() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, count: 7)
        var configuration = cluster.quickConsumer(topic)
        configuration.start = .offset(5_000)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            let taking = Task { try await consumer.take(1) }
            var told: [KafkaTopicPartition: String] = [:]
            for await event in events {
                if case .problem(let error, let partition?) = event, error.kind == .offsetOutOfRange {
                    told[partition] = error.reason
                }
                if told.count == 2 { break }
            }
            for (number, end) in [7, 0].enumerated() {
                let partition = KafkaTopicPartition(topic: topic, partition: number)
                #expect(told[partition] == "\(partition) ends before offset 5000: it starts at its end, \(end)")
            }
            try await cluster.fill(topic, count: 1, from: 7)
            #expect(try await taking.value.map(\.text) == ["7"])
        }
    }

    @Test func aStartBehindTheEndFailsWhereItIsToldTo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 7)
        var configuration = cluster.quickConsumer(topic)
        configuration.start = .offset(8)
        configuration.autoOffsetReset = .failure
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let error = try await #require(throws: KafkaError.self) { try await consumer.take(1) }
            #expect(error.kind == .offsetOutOfRange)
            #expect(error.reason.hasPrefix("\(topic) [0] does not hold offset 8"))
        }
        // Its end is no failure: what comes next has that offset.
        configuration.start = .offset(7)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let taking = Task { try await consumer.take(1) }
            _ = try await consumer.events.first { event in if case .caughtUp = event { true } else { nil } }
            try await cluster.fill(topic, count: 1, from: 7)
            #expect(try await taking.value.map(\.offset) == [7])
        }
    }

    @Test func aConsumerCanStartAtTheLastMessages() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, count: 10)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            _ = try await producer.send(KafkaMessage(topic: topic, partition: 1, value: "only"))
        }
        var configuration = cluster.quickConsumer(topic)
        configuration.start = .last(3)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(4)
            #expect(deliveries.filter { $0.partition == 0 }.map(\.offset) == [7, 8, 9])
            #expect(deliveries.filter { $0.partition == 1 }.map(\.text) == ["only"])
        }
    }

    // librdkafka asks where the end of a partition is when it is told of it; asks again where it is refused, and the start is sought
    // meanwhile. The answer, which is outdated then, makes it ask once more, and go to the end from wherever it is.
    @Test(.enabled(if: TestCluster.isMock)) func anAnswerThatComesAfterTheStartWasSoughtLeadsNowhere() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        // A fetch brings one of them.
        for number in 0..<10 { try await cluster.fill(topic, count: 1, from: number) }
        var configuration = cluster.quickConsumer(topic)
        configuration.start = .last(6)
        try cluster.mock.setRoundTripTime(.milliseconds(600))
        try cluster.mock.inject([.leaderNotAvailable], into: .listOffsets)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            #expect(try await consumer.takeOffsets(6) == [4, 5, 6, 7, 8, 9])
            try cluster.mock.setRoundTripTime(.zero)
        }
    }

    /// The mock brokers find no offset by its timestamp.
    @Test(.enabled(if: !TestCluster.isMock)) func aConsumerCanStartAtATimestamp() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for number in 0..<10 {
                let timestamp = KafkaTimestamp.earlier.advanced(milliseconds: number * 1_000)
                let message = KafkaMessage(topic: topic, partition: 0, value: "\(number)", timestamp: timestamp)
                _ = try await producer.send(message)
            }
        }
        var configuration = cluster.quickConsumer(topic)
        configuration.start = .timestamp(.earlier.advanced(milliseconds: 5_500))
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(4)
            #expect(deliveries.map(\.text) == ["6", "7", "8", "9"])
            #expect(deliveries[0].timestamp == .earlier.advanced(milliseconds: 6_000))
            #expect(deliveries[0].timestampType == .created)
        }
    }

    @Test func aGroupWithoutOffsetsFailsWhereItIsToldTo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        var configuration = cluster.quickConsumer(topic)
        configuration.autoOffsetReset = .failure
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            for _ in 0..<2 {
                let error = try await #require(throws: KafkaError.self) { try await consumer.take(1) }
                #expect(error.kind == .offsetOutOfRange)
                #expect(error.recovery == .fixRequest)
            }
        }
    }

    @Test func aPatternReceivesTheTopicsThatMatch() async throws {
        let cluster = try TestCluster()
        let prefix = TestCluster.uniqueName("pattern")
        let one = try await cluster.makeTopic(name: "\(prefix)one")
        let two = try await cluster.makeTopic(name: "\(prefix)two")
        let other = try await cluster.makeTopic(name: "other\(prefix)")
        for topic in [one, two, other] { try await cluster.fill(topic, count: 2) }
        let legal = prefix.filter { $0 != "-" }
        try await withKafkaConsumer(cluster.quickConsumer("^\(legal).*"), logger: .test) { consumer in
            let deliveries = try await consumer.take(4)
            #expect(Set(deliveries.map(\.topic)) == [one, two])
            #expect(deliveries.filter { $0.topic == one }.map(\.offset) == [0, 1])
        }
    }

    @Test func aTopicThatIsMadeLaterAndMatchesIsFoundAfterTheRefreshInterval() async throws {
        let cluster = try TestCluster()
        let prefix = TestCluster.uniqueName("growing").filter { $0 != "-" }
        try await cluster.makeTopic(exactly: "\(prefix)one")
        try await cluster.fill("\(prefix)one", count: 1)
        var configuration = cluster.quickConsumer("^\(prefix).*")
        configuration.metadataRefreshInterval = .milliseconds(200)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            _ = try await consumer.take(1)
            try await cluster.makeTopic(exactly: "\(prefix)two")
            try await cluster.fill("\(prefix)two", count: 1)
            let found = try await expectWithin(.seconds(30)) { try await consumer.take(1) }
            #expect(found.map(\.topic) == ["\(prefix)two"])
        }
    }

    @Test func aGoodTopicIsReceivedAndAMissingOneReported() async throws {
        let cluster = try TestCluster()
        let good = try await cluster.makeTopic()
        let missing = TestCluster.uniqueName("missing")
        if TestCluster.isMock {
            try cluster.mock.setError(.unknownTopicOrPartition, forTopic: missing)
        }
        try await cluster.fill(good, count: 3)
        let consumer = try KafkaConsumer(cluster.quickConsumer(good, missing), logger: .test)
        let events = consumer.events
        let topics = try await consumer.take(3).map(\.topic)
        #expect(topics == [good, good, good])
        let problem = try await events.first { event in
            if case .problem(let error, _) = event, error.kind == .unknownTopicOrPartition { error } else { nil }
        }
        #expect(problem.reason.contains(missing))
        await consumer.close()
    }

    @Test func offsetsNeedNotBeNextToOneAnother() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        // Transactions leave control records, and aborted ones messages, that nobody is given. The mock brokers keep
        // neither, but drop what is older than the newest 5 MiB, so that the partition does not begin at 0.
        let stored: [Int64]
        if TestCluster.isMock {
            let large = [UInt8](repeating: 7, count: 900_000)
            try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                for _ in 0..<10 { _ = try await producer.send(KafkaMessage(topic: topic, value: large)) }
            }
            let kept = try await Kcat(cluster).count(topic, partition: 0)
            #expect(kept < 10)
            stored = Array(Int64(10 - kept)..<10)
        } else {
            try await TransactionalWriter.write(to: topic, cluster.bootstrapServers)
            stored = TransactionalWriter.visibleOffsets
        }
        let configuration = cluster.quickConsumer(topic)
        let offsets = GroupOffsets(cluster, configuration.group)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let deliveries = try await consumer.take(stored.count)
            #expect(deliveries.map(\.offset) == stored)
            // Backwards, so that nothing is committed before the first.
            for delivery in deliveries.dropFirst().reversed() { delivery.acknowledge() }
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == nil)
            deliveries[0].acknowledge()
            try await consumer.commit()
            #expect(try await offsets.committed(topic) == stored[stored.count - 1] + 1)
        }
    }
}
