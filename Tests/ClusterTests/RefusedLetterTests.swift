import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import MetricsTestKit
import Testing

/// A dead letter that is refused sheds what can be left out; one that can never be stored stands in nobody's way but its own.
@Suite(.timeLimit(.minutes(3)))
struct RefusedLetterTests {
    struct Failure: Error, CustomStringConvertible {
        var description: String { String(repeating: "x", count: 4_000) }
    }

    private static let limit = 10_000

    /// What sends letters, and takes none that is larger than ``limit``.
    private static func narrowProducer(_ cluster: TestCluster) throws -> KafkaProducer {
        var configuration = cluster.producerConfiguration()
        configuration.maximumMessageBytes = limit
        return try KafkaProducer(configuration, logger: .test)
    }

    private static func value(_ count: Int) -> String { String(repeating: "v", count: count) }

    /// Sends messages, each to a partition and with a key, one of which is too large for any letter.
    private static func send(
        _ cluster: TestCluster,
        _ messages: [(partition: Int, key: String, count: Int)],
        to topic: String
    ) async throws {
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for (partition, key, count) in messages {
                let message = KafkaMessage(topic: topic, partition: partition, key: key, value: value(count))
                try await producer.send(message)
            }
        }
    }

    /// Sizes of the value with which everything fits, all but what the error said, and where it comes from alone.
    @Test(arguments: [(1_000, 9, true), (9_250, 8, false), (9_690, 3, false)])
    func aLetterThatDoesNotFitIsStoredWithoutWhatCanBeLeftOut(count: Int, headers: Int, hasText: Bool) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.makeTopic(exactly: topic + "-dlt")
        let message = KafkaMessage(topic: topic, value: Self.value(count), headers: ["trace": "42", "trace": nil])
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { try await $0.send(message) }
        let producer = try Self.narrowProducer(cluster)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let events = consumer.events
            async let handling: Void = consumer.forEach(
                retry: .none,
                deadLetters: KafkaDeadLetters(producer: producer)
            ) { _ in throw Failure() }
            _ = try await events.first { if case .deadLettered = $0 { true } else { nil } }
            await consumer.close()
            try await handling
        }
        try await withKafkaConsumer(cluster.quickConsumer(topic + "-dlt"), logger: .test) { consumer in
            let letter = try #require(try await consumer.take(1).first)
            #expect(letter.value == message.value)
            #expect(Array(letter.headers.prefix(2)) == Array(message.headers), "the application's stay")
            #expect(letter.headers.count == 2 + headers)
            #expect(letter.deadLetter?.originalTopic == topic)
            #expect(letter.deadLetter?.originalOffset == 0)
            #expect((letter.deadLetter?.exceptionMessage != nil) == hasText)
        }
        await producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aLetterThatTheBrokerRefusesIsStoredWithoutWhatCanBeLeftOut() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.makeTopic(exactly: topic + "-dlt")
        try await cluster.fill(topic, count: 1)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try cluster.mock.inject([.messageTooLarge, .messageTooLarge], into: .produce)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            _ = try await consumer.firstDeadLetter(KafkaDeadLetters(producer: producer))
        }
        try await withKafkaConsumer(cluster.quickConsumer(topic + "-dlt"), logger: .test) { consumer in
            let letter = try await consumer.take(1).first
            #expect(letter?.headers.count == 3, "where it comes from")
        }
        await producer.close()
    }

    @Test func aLetterThatCanNeverBeStoredHoldsItsPartitionAndSaysSoOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.makeTopic(exactly: topic + "-dlt", partitions: 2)
        try await Self.send(
            cluster,
            [(0, "a", 10), (0, "b", 20_000), (0, "c", 10), (1, "d", 10), (1, "e", 10)],
            to: topic
        )
        let producer = try Self.narrowProducer(cluster)
        let metrics = TestMetrics()
        let (logger, lines) = LogRecorder.logger()
        var configuration = cluster.quickConsumer(topic)
        configuration.metricsFactory = metrics
        let handled = Shared<Set<String>>([])
        let consumer = try KafkaConsumer(configuration, logger: logger)
        let events = consumer.events
        let handling = Task {
            try await consumer.forEach(
                retry: .none,
                deadLetters: KafkaDeadLetters(producer: producer)
            ) { delivery in
                if delivery.text.utf8.count > Self.limit { throw Failure() }
                _ = handled.change { $0.insert(delivery.key?.string ?? "") }
            }
        }
        let (source, error) = try await events.first { event -> (KafkaConsumer.Event.Source, KafkaError)? in
            if case .deadLetterRefused(let source, let error) = event { (source, error) } else { nil }
        }
        #expect(source.partition.partition == 0)
        #expect(source.offset == 1)
        #expect(error.kind == .messageTooLarge)
        try await handled.wait { $0 == ["a", "d", "e"] }
        // It is tried again, and not said again.
        var attempts = 0
        for await event in events {
            if case .deadLetterRefused = event { Issue.record("said twice") }
            if case .deadLetterFailed = event { attempts += 1 }
            if attempts == 3 { break }
        }
        let summary = await consumer.close()
        try await handling.value
        #expect(summary.unsettled == 1)
        #expect(handled.value == ["a", "d", "e"], "what comes after it in its partition is not handed out")
        let labels = [("client_id", configuration.clientID), ("group", configuration.group)]
        let refusals = try metrics.expectCounter("kafka_consumer_dead_letter_refusals_total", labels).totalValue
        #expect(refusals == 1)
        let errors = lines.value.filter { $0.level == .error }
        #expect(errors.count == 1)
        #expect(errors.first?.message.contains("can never be stored") == true)
        let committed = try await GroupOffsets(cluster, configuration.group).committed(topic, partitions: 0...1)
        #expect(committed == [0: 1, 1: 2])
        await producer.close()
    }

    @Test(arguments: [KafkaConsumer.Concurrency.perKey(maximum: 2), .unordered(maximum: 2), .perKey(maximum: 1)])
    func lettersThatCanNeverBeStoredDoNotStopTheOtherKeys(concurrency: KafkaConsumer.Concurrency) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 4)
        try await cluster.makeTopic(exactly: topic + "-dlt", partitions: 4)
        let bad = (0..<4).map { (partition: $0, key: "bad \($0)", count: 20_000) }
        let good = (0..<40).map { (partition: $0 % 4, key: "good \($0)", count: 10) }
        try await Self.send(cluster, bad + good, to: topic)
        let producer = try Self.narrowProducer(cluster)
        let handled = Shared<Set<String>>([])
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .silent) { consumer in
            let handling = Task {
                try await consumer.forEach(
                    concurrency: concurrency,
                    retry: .none,
                    deadLetters: KafkaDeadLetters(producer: producer)
                ) { delivery in
                    if delivery.text.utf8.count > Self.limit { throw Failure() }
                    _ = handled.change { $0.insert(delivery.key?.string ?? "") }
                }
            }
            try await handled.wait { $0.count == 40 }
            let summary = await consumer.close()
            #expect(summary.unsettled == 4)
            try await handling.value
        }
        await producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aLetterOnItsWayOccupiesNoPlaceAmongThoseThatRun() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await Self.send(
            cluster,
            [(0, "bad", 1), (0, "bad", 2), (0, "bad", 3)] + (0..<40).map { (0, "good \($0)", 10) },
            to: topic
        )
        // The letters' producer has a cluster of its own, which is away at first: a letter takes all the time it has.
        let away = try TestCluster()
        try away.mock.createTopic(topic + "-dlt")
        try away.mock.takeDown()
        let producer = try KafkaProducer(away.producerConfiguration(), logger: .silent)
        let handled = Shared<[String]>([])
        let letters = Shared(0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let events = consumer.events
            let listening = Task {
                for await event in events {
                    if case .deadLettered = event { letters.change { $0 += 1 } }
                }
            }
            let handling = Task {
                try await consumer.forEach(
                    concurrency: .perKey(maximum: 1),
                    retry: .none,
                    deadLetters: KafkaDeadLetters(producer: producer)
                ) { delivery in
                    if delivery.key == "bad", delivery.text != "vvv" { throw Failure() }
                    handled.change { $0.append(delivery.key?.string ?? "") }
                }
            }
            try await handled.wait { $0.count == 40 }
            #expect(!handled.value.contains("bad"), "what has its key waits")
            #expect(letters.value == 0)
            try away.mock.bringUp()
            try await handled.wait { $0.last == "bad" }
            try await letters.wait { $0 == 2 }
            let summary = await consumer.close()
            #expect(summary.unsettled == 0)
            try await handling.value
            await listening.value
        }
        await producer.close()
    }

    @Test(arguments: [KafkaConsumer.Concurrency.perPartition, .perKey(maximum: 2)])
    func whatIsHandedOverIsSettledWhenItIsStoredElsewhere(concurrency: KafkaConsumer.Concurrency) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.makeTopic(exactly: topic + "-dlt")
        try await Self.send(cluster, [(0, "a", 20_000), (0, "a", 10)], to: topic)
        let producer = try Self.narrowProducer(cluster)
        let configuration = cluster.quickConsumer(topic)
        let stored = Shared<[KafkaMessage]>([])
        let calls = Shared(0)
        let attempts = Shared(0)
        try await withKafkaConsumer(configuration, logger: .silent) { consumer in
            let events = consumer.events
            let handling = Task {
                try await consumer.forEach(
                    concurrency: concurrency,
                    retry: .none,
                    deadLetters: KafkaDeadLetters(
                        producer: producer,
                        onRefusal: .handOver { delivery, letter, error in
                            #expect(delivery.offset == 0)
                            #expect(error.kind == .messageTooLarge)
                            // Where it is to be stored is away at first.
                            guard
                                calls.change({
                                    $0 += 1; return $0
                                }) == 3
                            else { throw Failure() }
                            stored.change { $0.append(letter) }
                        }
                    )
                ) { delivery in
                    if delivery.offset == 0 {
                        attempts.change { $0 += 1 }
                        throw Failure()
                    }
                    Task { await consumer.close() }
                }
            }
            let source = try await events.first { event -> KafkaConsumer.Event.Source? in
                if case .handedOver(let source) = event { source } else { nil }
            }
            #expect(source.offset == 0)
            try await handling.value
        }
        #expect(attempts.value == 1, "the handler does not see it again")
        let letter = try #require(stored.value.first)
        #expect(letter.topic == topic + "-dlt")
        #expect(letter.value?.count == 20_000)
        #expect(KafkaDeadLetter(letter.headers)?.originalTopic == topic)
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic, 0) == 2)
        #expect(try await Kcat(cluster).count(topic + "-dlt", partition: 0) == 0)
        await producer.close()
    }

    @Test func inABatchOnlyThoseThatFailedAreGivenUp() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.makeTopic(exactly: topic + "-dlt")
        try await Self.send(cluster, [(0, "a", 10), (0, "b", 20_000), (0, "c", 10)], to: topic)
        let producer = try Self.narrowProducer(cluster)
        let configuration = cluster.quickConsumer(topic)
        let calls = Shared(0)
        try await withKafkaConsumer(configuration, logger: .silent) { consumer in
            let events = consumer.events
            let handling = Task {
                try await consumer.forEachBatch(
                    maximumCount: 3,
                    maximumWait: .milliseconds(500),
                    retry: .none,
                    deadLetters: KafkaDeadLetters(
                        producer: producer,
                        onRefusal: .handOver { _, _, _ in
                            guard
                                calls.change({
                                    $0 += 1; return $0
                                }) == 2
                            else { throw Failure() }
                        }
                    )
                ) { batch in
                    // The first has its verdict before the batch fails.
                    if let first = batch.first, first.offset == 0 { first.acknowledge() }
                    throw Failure()
                }
            }
            var settled = 0
            for await event in events {
                switch event {
                case .deadLettered, .handedOver: settled += 1
                default: break
                }
                if settled == 2 { break }
            }
            await consumer.close()
            try await handling.value
        }
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic, 0) == 3)
        #expect(try await Kcat(cluster).count(topic + "-dlt", partition: 0) == 1, "not the one that was handled")
        await producer.close()
    }

    @Test func whatNoRetryTopicTakesIsADeadLetter() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.makeTopic(exactly: topic + "-dlt")
        try await cluster.makeTopic(exactly: topic + "-retry-1h")
        try await Self.send(cluster, [(0, "a", 20_000)], to: topic)
        let narrow = try Self.narrowProducer(cluster)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .silent) { consumer in
            _ = try await consumer.firstDeadLetter(
                KafkaDeadLetters(producer: producer),
                retryTopics: KafkaRetryTopics(delays: [.seconds(3_600)], producer: narrow)
            )
        }
        #expect(try await Kcat(cluster).count(topic + "-dlt", partition: 0) == 1)
        #expect(try await Kcat(cluster).count(topic + "-retry-1h", partition: 0) == 0)
        await narrow.close()
        await producer.close()
    }
}
