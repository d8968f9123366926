import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Dead letters are sent again to where they came from: none is lost, and none is sent twice by surprise.
@Suite(.timeLimit(.minutes(2)))
struct RedriveTests {
    /// A topic and its dead letters.
    private struct Fixture {
        let cluster: TestCluster
        let topic: String
        let letters: String
        let producer: KafkaProducer

        init(partitions: Int = 1, name: String = #function) async throws {
            cluster = try TestCluster()
            topic = try await cluster.makeTopic(partitions: partitions, name: name)
            letters = try await cluster.makeTopic(partitions: partitions, name: name + "dlt")
            producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        }

        var configuration: KafkaRedrive.Configuration {
            var configuration = KafkaRedrive.Configuration(bootstrapServers: cluster.bootstrapServers, topic: letters)
            configuration.additionalProperties = [
                "session.timeout.ms": TestCluster.isMock ? "4000" : "6000", "heartbeat.interval.ms": "100",
            ]
            return configuration
        }

        /// The headers of a dead letter, as bytes, as Spring Kafka writes them.
        func headers(partition: Int, error: String = "declined") -> KafkaHeaders {
            [
                "kafka_dlt-original-topic": KafkaBytes(topic),
                "kafka_dlt-original-partition": [0, 0, 0, UInt8(partition)],
                "kafka_dlt-original-offset": [0, 0, 0, 0, 0, 0, 0, 9],
                "kafka_dlt-exception-fqcn": "Shop.Failure",
                "kafka_dlt-exception-message": KafkaBytes(error),
            ]
        }

        /// Adds dead letters, valued "0", "1" and so on.
        func add(_ count: Int, partition: Int = 0, error: (Int) -> String = { _ in "declined" }) async throws {
            let messages = (0..<count).map { number in
                KafkaMessage(
                    topic: letters,
                    partition: partition,
                    value: "\(number)",
                    headers: headers(partition: partition, error: error(number))
                )
            }
            for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        }

        @discardableResult
        func run(_ change: (inout KafkaRedrive.Configuration) -> Void = { _ in }) async throws -> KafkaRedrive.Summary {
            var configuration = configuration
            change(&configuration)
            return try await KafkaRedrive(configuration, logger: .test).run(with: producer)
        }

        /// The values in a partition of the original topic.
        func replays(_ partition: Int = 0) async throws -> [String] {
            let output = try await Kcat(cluster).run([
                "-C", "-q", "-t", topic, "-p", "\(partition)", "-o", "beginning", "-e", "-f", "%s\n",
            ])
            return String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
        }

        func committed(_ partition: Int = 0) async throws -> Int64? {
            try await GroupOffsets(cluster, configuration.group).committed(letters, partition)
        }
    }

    @Test func aDeadLetterReturnsToWhereItCameFromAsItWas() async throws {
        let fixture = try await Fixture(partitions: 3)
        let business: KafkaHeaders = ["trace": "a", "trace": "b", "null": nil, "empty": [], "binary": [0, 0xFF, 0x0A]]
        let time = KafkaTimestamp(millisecondsSince1970: 1_700_000_000_123)
        let letter = KafkaMessage(
            topic: fixture.letters,
            partition: 2,
            value: nil,
            headers: KafkaHeaders(Array(business) + Array(fixture.headers(partition: 1))),
            timestamp: time
        )
        try await fixture.producer.send(letter)
        var keyed = letter
        keyed.key = "42"
        keyed.value = "three apples"
        try await fixture.producer.send(keyed)
        let expected = try await fixture.producer.send(KafkaMessage(topic: fixture.topic, key: "42", value: "first"))

        let outcomes = Shared<[KafkaRedrive.Outcome]>([])
        let summary = try await KafkaRedrive(fixture.configuration, logger: .test).run(with: fixture.producer) {
            letter,
            outcome in
            #expect(letter.partition == 2)
            #expect(letter.deadLetter?.originalPartition == 1)
            outcomes.change { $0.append(outcome) }
        }
        #expect(summary.redriven == 2)
        #expect(summary.left == 0)
        let reports = outcomes.value.compactMap { outcome in
            if case .redriven(let report) = outcome { report } else { nil }
        }
        #expect(reports.map(\.topic) == [fixture.topic, fixture.topic])
        #expect(reports.map(\.partition) == [1, expected.partition], "where it was; where its key belongs")

        let reader = fixture.cluster.consumerConfiguration(topics: [fixture.topic])
        try await withKafkaConsumer(reader, logger: .test) { consumer in
            for delivery in try await consumer.take(3) where delivery.value != "first" {
                #expect(Array(delivery.headers.dropLast()) == Array(business))
                #expect(delivery.headers.last == KafkaHeader("kafka_delivery-redrive-count", [0, 0, 0, 1] as [UInt8]))
                #expect(delivery.timestamp == time)
                #expect(delivery.key == (delivery.value == nil ? nil : "42"))
                #expect(delivery.deadLetter == nil)
            }
        }
        #expect(try await fixture.committed(2) == 2)
        await fixture.producer.close()
    }

    @Test func aFilteredRunLeavesTheOthersForALaterOneAndNothingIsRedrivenTwice() async throws {
        let fixture = try await Fixture()
        try await fixture.add(30) { $0.isMultiple(of: 3) ? "declined" : "expired" }
        let first = try await fixture.run { $0.filter.error = "declined" }
        #expect(first.redriven == 10)
        #expect(first.filtered == 20)
        #expect(try await fixture.committed() == 1, "the first that is left is not committed past")

        let second = try await fixture.run { $0.filter.error = "declined" }
        #expect(second.redriven == 0)
        #expect(second.redrivenBefore == 9, "those behind the first that is left are remembered one by one")

        let third = try await fixture.run()
        #expect(third.redriven == 20)
        #expect(try await fixture.committed() == 30)
        let last = try await fixture.run()
        #expect(last == KafkaRedrive.Summary())

        let replays = try await fixture.replays().compactMap { Int($0) }
        #expect(
            replays == Array(0..<30).filter { $0.isMultiple(of: 3) } + Array(0..<30).filter { !$0.isMultiple(of: 3) }
        )
        await fixture.producer.close()
    }

    @Test func aPreviewSendsAndCommitsNothing() async throws {
        let fixture = try await Fixture(partitions: 2)
        try await fixture.add(3, partition: 0)
        try await fixture.add(2, partition: 1)
        let seen = Shared<[String]>([])
        var configuration = fixture.configuration
        configuration.filter.offsets = 1..<3
        let summary = try await KafkaRedrive(configuration, logger: .test).preview { letter, outcome in
            guard case .selected(let topic) = outcome else { return }
            seen.change { $0.append("\(topic == fixture.topic) \(letter.partition) \(letter.offset)") }
        }
        #expect(summary.redriven == 3)
        #expect(seen.value.sorted() == ["true 0 1", "true 0 2", "true 1 1"])
        #expect(try await fixture.replays(0).isEmpty)
        #expect(try await fixture.replays(1).isEmpty)
        #expect(try await fixture.committed(0) == nil)
        #expect(try await fixture.committed(1) == nil)
        await fixture.producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aDeadLetterWhoseReplayIsNotConfirmedStaysWhereItIs() async throws {
        let fixture = try await Fixture()
        try await fixture.add(3)
        // What is sent to has a cluster of its own, which is away at first.
        let away = try TestCluster()
        try away.mock.createTopic(fixture.topic)
        try away.mock.takeDown()
        var settings = away.producerConfiguration()
        settings.messageTimeout = .milliseconds(300)
        let producer = try KafkaProducer(settings, logger: .test)
        let redrive = KafkaRedrive(fixture.configuration, logger: .test)
        let failed = Shared(0)
        await #expect(throws: KafkaError.self) {
            try await redrive.run(with: producer) { _, outcome in
                if case .failed = outcome { failed.change { $0 += 1 } }
            }
        }
        #expect(failed.value == 3)
        #expect(try await fixture.committed() == nil)
        try away.mock.bringUp()
        #expect(try await redrive.run(with: producer).redriven == 3)
        #expect(try await fixture.committed() == 3)
        #expect(try await Kcat(away).count(fixture.topic, partition: 0) == 3)
        await producer.close()
        await fixture.producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func whatWasConfirmedAndNotRememberedIsRedrivenOnceMore() async throws {
        let fixture = try await Fixture()
        try await fixture.add(2)
        try fixture.cluster.mock.inject([.groupAuthorizationFailed], into: .offsetCommit)
        let redriven = Shared(0)
        let redrive = KafkaRedrive(fixture.configuration, logger: .test)
        let error = await #expect(throws: KafkaError.self) {
            try await redrive.run(with: fixture.producer) { _, outcome in
                if case .redriven = outcome { redriven.change { $0 += 1 } }
            }
        }
        #expect(error?.kind == .authorization)
        #expect(redriven.value == 2)
        #expect(try await fixture.run().redriven == 2, "at least once: rather twice than not at all")
        #expect(try await fixture.replays() == ["0", "1", "0", "1"])
        await fixture.producer.close()
    }

    @Test func aMessageThatFailsAgainAndAgainDoesNotGoRoundForEver() async throws {
        struct Failure: Error {}
        let fixture = try await Fixture()
        let report = try await fixture.producer.send(KafkaMessage(topic: fixture.topic, key: "k", value: "poison"))
        let reader = fixture.cluster.consumerConfiguration(topics: [fixture.topic])
        try await withKafkaConsumer(reader, logger: .test) { consumer in
            let events = consumer.events
            let handling = Task {
                try await consumer.forEach(
                    retry: .none,
                    deadLetters: KafkaDeadLetters(producer: fixture.producer, topicName: { _ in fixture.letters })
                ) { _ in throw Failure() }
            }
            func deadLetter() async throws {
                _ = try await events.first { event in
                    if case .deadLettered = event { true } else { nil }
                }
            }
            try await deadLetter()
            #expect(try await fixture.run { $0.maximumRedrives = 1 }.redriven == 1)
            try await deadLetter()
            let last = try await fixture.run { $0.maximumRedrives = 1 }
            #expect(last.redriven == 0)
            #expect(last.refused == 1)
            await consumer.close()
            try await handling.value
        }
        let listener = fixture.cluster.consumerConfiguration(topics: [fixture.letters])
        try await withKafkaConsumer(listener, logger: .test) { consumer in
            let again = try await consumer.take(2)[1]
            #expect(again.value == "poison")
            #expect(again.headers.all("kafka_dlt-original-topic").count == 1, "headers do not pile up")
            #expect(again.headers.all("kafka_deliveryAttempt").count == 1)
            #expect(again.headers.all("kafka_delivery-redrive-count") == [[0, 0, 0, 1]])
            #expect(again.deadLetter?.originalOffset == report.offset + 1)
        }
        await fixture.producer.close()
    }

    @Test func aDeadLetterThatArrivesDuringARunIsForALaterOne() async throws {
        let fixture = try await Fixture()
        try await fixture.add(2)
        let summary = try await KafkaRedrive(fixture.configuration, logger: .test).run(with: fixture.producer) {
            _,
            outcome in
            if case .redriven = outcome { try await fixture.add(1) }
        }
        #expect(summary.redriven == 2)
        #expect(try await fixture.committed() == 2)
        await fixture.producer.close()
    }

    @Test func whatIsNoDeadLetterIsToldOfAndLeft() async throws {
        let fixture = try await Fixture()
        try await fixture.producer.send(KafkaMessage(topic: fixture.letters, value: "whose is this?"))
        try await fixture.add(2)
        let summary = try await fixture.run()
        #expect(summary.redriven == 2)
        #expect(summary.notDeadLetters == 1)
        #expect((try await fixture.committed() ?? 0) == 0, "it is not committed past")
        let again = try await fixture.run()
        #expect(again.redriven == 0)
        #expect(again.notDeadLetters == 1)
        #expect(again.redrivenBefore == 2)
        await fixture.producer.close()
    }

    @Test func theMaximumEndsARunAndTheNextOneGoesOn() async throws {
        let fixture = try await Fixture()
        try await fixture.add(10)
        let first = try await fixture.run { $0.maximumCount = 4 }
        #expect(first.redriven == 4)
        #expect(first.reachedMaximum)
        #expect(try await fixture.committed() == 4)
        let second = try await fixture.run()
        #expect(second.redriven == 6)
        #expect(!second.reachedMaximum)
        #expect(try await fixture.replays() == (0..<10).map(String.init))
        await fixture.producer.close()
    }

    @Test func theRateIsNotExceeded() async throws {
        let fixture = try await Fixture()
        try await fixture.add(11)
        var configuration = fixture.configuration
        configuration.maximumRate = 20
        configuration.timestamps = .redriven
        try await KafkaRedrive(configuration, logger: .test).run(with: fixture.producer)
        let reader = fixture.cluster.consumerConfiguration(topics: [fixture.topic])
        try await withKafkaConsumer(reader, logger: .test) { consumer in
            // When each was sent; cut to milliseconds, so one may be missing at either end.
            let times = try await consumer.take(11).compactMap { $0.timestamp?.millisecondsSince1970 }
            #expect(times.count == 11)
            #expect((times.last ?? 0) - (times.first ?? 0) >= 498)
        }
        await fixture.producer.close()
    }

    @Test func aCancelledRunRemembersWhatWasConfirmed() async throws {
        let fixture = try await Fixture()
        try await fixture.add(50)
        var configuration = fixture.configuration
        configuration.maximumRate = 10
        let redriven = Shared(0)
        let redrive = KafkaRedrive(configuration, logger: .test)
        let running = Task {
            try await redrive.run(with: fixture.producer) { _, _ in redriven.change { $0 += 1 } }
        }
        try await redriven.wait { $0 >= 5 }
        running.cancel()
        await #expect(throws: CancellationError.self) { try await running.value }
        let count = redriven.value
        #expect(count < 50)
        #expect(try await fixture.committed() == Int64(count))
        #expect(try await fixture.run().redriven == 50 - count)
        #expect(try await fixture.replays() == (0..<50).map(String.init))
        await fixture.producer.close()
    }

    @Test func twoRunsAtTheSameTimeShareTheWork() async throws {
        let fixture = try await Fixture(partitions: 4)
        for partition in 0..<4 { try await fixture.add(25, partition: partition) }
        async let one = fixture.run()
        async let other = fixture.run()
        let sums = try await (one, other)
        #expect(sums.0.redriven + sums.1.redriven >= 100)
        for partition in 0..<4 {
            let replays = try await fixture.replays(partition)
            #expect(Set(replays) == Set((0..<25).map(String.init)))
            // A mock group begins its next generation when a rebalance begins, and refuses the commits of the last one.
            if !TestCluster.isMock { #expect(replays == (0..<25).map(String.init)) }
        }
        await fixture.producer.close()
    }

    @Test func aTopicThatIsNotThereIsAnErrorAndAnEmptyOneIsNot() async throws {
        let fixture = try await Fixture()
        #expect(try await fixture.run() == KafkaRedrive.Summary())
        if !TestCluster.isMock {
            let error = await #expect(throws: KafkaError.self) { try await fixture.run { $0.topic = "nowhere-dlt" } }
            #expect(error?.kind == .unknownTopicOrPartition)
        }
        await fixture.producer.close()
    }
}
