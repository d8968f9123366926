import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Dead letters are sent again to where they came from: none is lost, and none is sent twice by surprise.
@Suite(.timeLimit(.minutes(5)))
struct RedriveTests {
    @Test func aDeadLetterReturnsToWhereItCameFromAsItWas() async throws {
        let fixture = try await RedriveFixture(partitions: 3)
        let business: KafkaHeaders = ["trace": "a", "trace": "b", "null": nil, "empty": [], "binary": [0, 0xFF, 0x0A]]
        let time = KafkaTimestamp.earlier
        let letter = KafkaMessage(
            topic: fixture.letters,
            partition: 2,
            value: nil,
            headers: KafkaHeaders(
                Array(business) + Array(fixture.headers(partition: 1))
                    + [KafkaHeader("kafka_dlt-original-timestamp", time.bytes)]
            )
        )
        try await fixture.producer.send(letter)
        var keyed = letter
        keyed.key = "42"
        keyed.value = "three apples"
        try await fixture.producer.send(keyed)
        let expected = try await fixture.producer.send(KafkaMessage(topic: fixture.topic, key: "42", value: "first"))
        let start = KafkaTimestamp.now

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
                #expect(Array(delivery.headers.dropLast(2)) == Array(business))
                #expect(
                    Array(delivery.headers.suffix(2)) == [
                        KafkaHeader("kafka_delivery-original-timestamp", time.bytes),
                        KafkaHeader("kafka_delivery-redrive-count", [0, 0, 0, 1] as [UInt8]),
                    ]
                )
                #expect((delivery.timestamp ?? .earlier) >= start, "the topic's retention counts from the replay")
                #expect(delivery.key == (delivery.value == nil ? nil : "42"))
                #expect(delivery.deadLetter == nil)
            }
        }
        #expect(try await fixture.committed(2) == 2)
        await fixture.producer.close()
    }

    @Test func aReplayCanHaveTheTimeOfTheOriginal() async throws {
        let fixture = try await RedriveFixture()
        let time = KafkaTimestamp.earlier
        var headers = fixture.headers(partition: 0)
        headers.append(KafkaHeader("kafka_dlt-original-timestamp", time.bytes))
        try await fixture.producer.send(KafkaMessage(topic: fixture.letters, value: "v", headers: headers))
        #expect(try await fixture.run { $0.timestamps = .original }.redriven == 1)
        let reader = fixture.cluster.quickConsumer(fixture.topic)
        try await withKafkaConsumer(reader, logger: .test) { consumer in
            let replay = try await consumer.take(1).first
            #expect(replay?.timestamp == time)
        }
        await fixture.producer.close()
    }

    @Test func aLetterThatIsRefusedIsLeftAndTheOthersGoOn() async throws {
        let fixture = try await RedriveFixture()
        var nowhere = fixture.headers(partition: 0)
        nowhere[0].value = ""
        let large = String(repeating: "v", count: 5_000)
        try await fixture.add(1)
        for (value, headers) in [("nowhere", nowhere), (large, fixture.headers(partition: 0))] {
            try await fixture.producer.send(KafkaMessage(topic: fixture.letters, value: value, headers: headers))
        }
        try await fixture.add(1)
        var settings = fixture.cluster.producerConfiguration()
        settings.maximumMessageBytes = 2_000
        let narrow = try KafkaProducer(settings, logger: .test)
        let redrive = KafkaRedrive(fixture.configuration, logger: .test)

        let kinds = Shared<[Int64: KafkaError.Kind]>([:])
        let observer: KafkaRedrive.Observer = { letter, outcome in
            if case .refused(let error) = outcome { kinds.change { $0[letter.offset] = error.kind } }
        }
        let preview = try await redrive.preview(for: settings, observer)
        #expect(preview.redriven == 2)
        #expect(preview.unsendable == 2)
        #expect(kinds.value == [1: .invalidArgument, 2: .messageTooLarge])
        #expect(try await redrive.preview { _, _ in }.unsendable == 1, "how large it may be is not known")

        kinds.change { $0 = [:] }
        let summary = try await redrive.run(with: narrow, observer)
        #expect(summary.redriven == 2)
        #expect(summary.unsendable == 2)
        #expect(summary.left == 2)
        #expect(kinds.value == [1: .invalidArgument, 2: .messageTooLarge])
        #expect(try await fixture.replays() == ["0", "0"])

        // They are there for a later run, which sends nothing twice.
        let later = try await fixture.run()
        #expect(later.redriven == 1)
        #expect(later.unsendable == 1)
        #expect(later.redrivenBefore == 1, "the last; what is before the first that was left is not looked at")
        #expect(try await fixture.replays() == ["0", "0", large])
        await narrow.close()
        await fixture.producer.close()
    }

    @Test func whatIsRefusedDoesNotCountAsSent() async throws {
        let fixture = try await RedriveFixture()
        try await fixture.producer.send(
            KafkaMessage(
                topic: fixture.letters,
                value: String(repeating: "v", count: 5_000),
                headers: fixture.headers(partition: 0)
            )
        )
        try await fixture.add(3)
        var settings = fixture.cluster.producerConfiguration()
        settings.maximumMessageBytes = 2_000
        let narrow = try KafkaProducer(settings, logger: .test)
        var configuration = fixture.configuration
        configuration.maximumCount = 2
        let summary = try await KafkaRedrive(configuration, logger: .test).run(with: narrow)
        #expect(summary.redriven == 2)
        #expect(summary.unsendable == 1)
        #expect(summary.reachedMaximum)
        #expect(try await fixture.replays() == ["0", "1"])
        await narrow.close()
        await fixture.producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aLetterThatTheBrokerRefusesIsLeftAndTheOthersGoOn() async throws {
        let fixture = try await RedriveFixture()
        try await fixture.add(3)
        try fixture.cluster.mock.inject([.messageTooLarge], into: .produce)
        // What waits longer for its turn than what is under way may go unremembered waits for its answers first.
        let summary = try await fixture.run { $0.maximumRate = 0.5 }
        #expect(summary.redriven == 2)
        #expect(summary.unsendable == 1)
        #expect(try await fixture.committed() == 0)
        #expect(try await fixture.run().redriven == 1)
        #expect(try await fixture.replays() == ["1", "2", "0"])
        await fixture.producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func whatTheBrokerRefusesDoesNotCountAsSentEither() async throws {
        let fixture = try await RedriveFixture()
        try await fixture.add(5)
        try fixture.cluster.mock.inject([.messageTooLarge], into: .produce)
        let summary = try await fixture.run {
            $0.maximumCount = 2
            $0.maximumRate = 0.5
        }
        #expect(summary.redriven == 2)
        #expect(summary.unsendable == 1)
        #expect(summary.reachedMaximum)
        #expect(summary.partitionsOfOthers.isEmpty, "it is this run's own")
        #expect(try await fixture.replays() == ["1", "2"])
        await fixture.producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func whatIsRefusedWithTheLastOfTheMaximumMakesRoomForAnother() async throws {
        let fixture = try await RedriveFixture()
        // As many as three requests of three each, which may all be refused, and three more.
        try await fixture.add(12)
        // Together or each by itself: one of the first three is refused at least, also where an answer comes too late on a busy machine.
        try fixture.cluster.mock.inject([.messageTooLarge, .messageTooLarge, .messageTooLarge], into: .produce)
        let summary = try await fixture.run { $0.maximumCount = 3 }
        #expect(summary.redriven == 3)
        #expect(summary.unsendable >= 1)
        #expect(summary.reachedMaximum)
        #expect(summary.partitionsOfOthers.isEmpty)
        await fixture.producer.close()
    }

    @Test func aPreviewSendsAndCommitsNothing() async throws {
        let fixture = try await RedriveFixture(partitions: 2)
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
        let fixture = try await RedriveFixture()
        try await fixture.add(3)
        // What is sent to has a cluster of its own, which is away at first.
        let away = try TestCluster()
        try away.mock.createTopic(fixture.topic)
        try away.mock.takeDown()
        var settings = away.producerConfiguration()
        settings.messageTimeout = .milliseconds(300)
        let hasty = try KafkaProducer(settings, logger: .test)
        let redrive = KafkaRedrive(fixture.configuration, logger: .test)
        let failed = Shared(0)
        await #expect(throws: KafkaError.self) {
            try await redrive.run(with: hasty) { _, outcome in
                if case .failed = outcome { failed.change { $0 += 1 } }
            }
        }
        #expect(failed.value == 3)
        #expect(try await fixture.committed() == nil)
        await hasty.close()
        try away.mock.bringUp()
        // With as much time as a busy machine needs for connecting.
        let producer = try KafkaProducer(away.producerConfiguration(), logger: .test)
        #expect(try await redrive.run(with: producer).redriven == 3)
        #expect(try await fixture.committed() == 3)
        #expect(try await Kcat(away).count(fixture.topic, partition: 0) == 3)
        await producer.close()
        await fixture.producer.close()
    }

    @Test func aMessageThatFailsAgainAndAgainDoesNotGoRoundForEver() async throws {
        struct Failure: Error {}
        let fixture = try await RedriveFixture()
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
        let fixture = try await RedriveFixture()
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

    @Test func theRateIsNotExceeded() async throws {
        let fixture = try await RedriveFixture()
        try await fixture.add(11)
        var configuration = fixture.configuration
        configuration.maximumRate = 20
        configuration.timestamps = .redriven
        try await KafkaRedrive(configuration, logger: .test).run(with: fixture.producer)
        let reader = fixture.cluster.consumerConfiguration(topics: [fixture.topic])
        try await withKafkaConsumer(reader, logger: .test) { consumer in
            // When each was sent: half a second from the first to the last. Where this machine is busy the first may be
            // held up on its way, and nothing makes up for that.
            let times = try await consumer.take(11).compactMap { $0.timestamp?.millisecondsSince1970 }
            #expect(times.count == 11)
            #expect((times.last ?? 0) - (times.first ?? 0) >= 400)
        }
        await fixture.producer.close()
    }

    @Test func aTopicThatIsNotThereIsAnErrorAndAnEmptyOneIsNot() async throws {
        let fixture = try await RedriveFixture()
        #expect(try await fixture.run() == KafkaRedrive.Summary())
        if !TestCluster.isMock {
            let error = await #expect(throws: KafkaError.self) { try await fixture.run { $0.topic = "nowhere-dlt" } }
            #expect(error?.kind == .unknownTopicOrPartition)
        }
        await fixture.producer.close()
    }
}
