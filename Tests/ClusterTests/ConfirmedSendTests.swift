import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import MetricsTestKit
import Testing

@Suite(.timeLimit(.minutes(5)))
struct ConfirmedSendTests {
    @Test func aConfirmedSendIsAtTheReportedPartitionAndOffset() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 3)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for number in 0..<20 {
                let report = try await producer.send(
                    KafkaMessage(topic: topic, key: "key \(number)", value: "value \(number)")
                )
                #expect(report.topic == topic)
                #expect(report.hasOffset)
                let stored = try await Kcat(cluster).read(
                    topic,
                    partition: report.partition,
                    from: report.offset,
                    count: 1,
                    format: "%o|%k|%s"
                )
                #expect(String(decoding: stored, as: UTF8.self) == "\(report.offset)|key \(number)|value \(number)")
            }
        }
    }

    @Test func withoutAcknowledgementsEachSendIsReportedAndNoneHasAnOffset() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.idempotence = false
        configuration.acknowledgements = .none
        // So that they travel together.
        configuration.linger = .milliseconds(300)
        try await withKafkaProducer(configuration, logger: .test) { producer in
            let messages = (0..<3_000).map { KafkaMessage(topic: topic, partition: 0, value: "\($0)") }
            let reports = try await producer.send(contentsOf: messages).map { try $0.get() }
            #expect(reports.count == 3_000)
            #expect(reports.allSatisfy { !$0.hasOffset })
        }
        try await waitUntil { try await Kcat(cluster).count(topic, partition: 0) == 3_000 }
    }

    @Test(.enabled(if: TestCluster.isMock, "injects an error"))
    func aBatchThatTheBrokerHasAlreadyIsConfirmedAndNoneOfItsMessagesHasAnOffset() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        // So that they travel together, when they are flushed.
        configuration.linger = .seconds(600)
        configuration.messageTimeout = .seconds(900)
        try await withKafkaProducer(configuration, logger: .test) { producer in
            try cluster.mock.inject([.duplicateSequence], into: .produce)
            var pending: [KafkaProducer.PendingDelivery] = []
            for number in 0..<5 {
                pending.append(try await producer.enqueue(KafkaMessage(topic: topic, partition: 0, value: "\(number)")))
            }
            try await producer.flush()
            for delivery in pending {
                let report = try await delivery.report
                #expect(report.offset == -1 && !report.hasOffset)
            }
            // The broker had said no offset, and stored nothing: the next is its first.
            let next = try await producer.enqueue(KafkaMessage(topic: topic, partition: 0, value: "next"))
            try await producer.flush()
            #expect(try await next.report.offset == 0)
        }
    }

    @Test func tenThousandConcurrentSendsHaveTenThousandDistinctOffsets() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let offsets = try await withThrowingTaskGroup(of: Int64.self) { group in
            for number in 0..<10_000 {
                group.addTask { try await producer.send(KafkaMessage(topic: topic, value: "\(number)")).offset }
            }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(offsets == Set(0..<10_000))
        let summary = await producer.close()
        #expect(summary == KafkaCloseSummary())
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 10_000)
    }

    @Test func theOrderOfEnqueueIsTheOrderInThePartition() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            var pending: [KafkaProducer.PendingDelivery] = []
            for number in 0..<5_000 {
                pending.append(try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)")))
            }
            for (number, delivery) in pending.enumerated() {
                #expect(try await delivery.report.offset == Int64(number))
            }
        }
        let stored = try await Kcat(cluster).read(topic, partition: 0, count: 5_000, format: "%s\n")
        let expected = (0..<5_000).map { "\($0)\n" }.joined()
        #expect(String(decoding: stored, as: UTF8.self) == expected)
    }

    /// The hashes are those that the Java client's own tests expect of its murmur2.
    @Test(
        arguments: [
            ("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829), ("abc", 479_470_107),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] as [(String, Int32)]
    )
    func keysGoToThePartitionTheJavaClientWouldChoose(key: String, hash: Int32) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 7)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let report = try await producer.send(KafkaMessage(topic: topic, key: key, value: "x"))
            #expect(report.partition == Int(hash & 0x7FFF_FFFF) % 7)
        }
    }

    /// One message a request and one request at a time: each report has to come as soon as its answer does.
    @Test(.enabled(if: TestCluster.isMock, "the rate is that of the machine, not of a network"))
    func reportsKeepUpWithThreeThousandSingleMessageRequestsASecond() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.additionalProperties = ["batch.num.messages": "1"]
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        let total = 9_000
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<5 {
                group.addTask {
                    for _ in 0..<total / 5 {
                        try await producer.send(KafkaMessage(topic: topic, value: "x"))
                    }
                }
            }
            try await group.waitForAll()
        }
        // A client that looks for reports at intervals of 100 ms or more takes three minutes and more. Three seconds are the rate in
        // the name; other tests run on the same cores, and a sanitizer makes all of it slow.
        #expect(start.duration(to: .now) < .seconds(150))
        await producer.close()
    }

    /// Senders read reports for each other while nobody waits, and the producer's thread as soon as somebody does.
    @Test func sendersOnAllExecutorsThatAwaitLaterGetTheirOwnReportsInOrder() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let (senders, count) = (8, 5_000)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let offsets = try await withThrowingTaskGroup(of: [Int64].self) { group in
                for sender in 0..<senders {
                    // Small windows wait often, and large ones hardly ever.
                    let window = [1, 10, 500, count][sender % 4]
                    group.addTask(executorPreference: sender < 4 ? nil : producer.taskExecutor) {
                        try await Self.offsets(of: count, window: window, topic, producer)
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(offsets.allSatisfy { $0 == $0.sorted() })
            #expect(offsets.flatMap { $0 }.sorted() == Array(0..<Int64(senders * count)))
        }
    }

    /// Enqueues messages and awaits each report when `window` later ones are under way.
    private static func offsets(
        of count: Int,
        window: Int,
        _ topic: String,
        _ producer: KafkaProducer
    ) async throws -> [Int64] {
        var pending: [KafkaProducer.PendingDelivery] = []
        var offsets: [Int64] = []
        for number in 0..<count {
            if number >= window { offsets.append(try await pending[number - window].report.offset) }
            pending.append(try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)")))
        }
        for last in pending.suffix(min(window, count)) { offsets.append(try await last.report.offset) }
        return offsets
    }

    @Test func whatNobodyAwaitsIsConfirmedAllTheSame() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let metrics = TestMetrics()
        var configuration = cluster.producerConfiguration()
        configuration.metricsFactory = metrics
        configuration.metricsInterval = .milliseconds(100)
        configuration.clientID = "unawaited"
        let labels = [("client_id", "unawaited")]
        // Blocks that are full, and one that is not.
        let count = 1_000
        try await withKafkaProducer(configuration, logger: .test) { producer in
            for number in 0..<count {
                _ = try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)"))
            }
            while try metrics.expectCounter("kafka_producer_messages_confirmed_total", labels).totalValue < count {
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(try metrics.expectCounter("kafka_producer_messages_sent_total", labels).totalValue == count)
            #expect(try metrics.expectGauge("kafka_producer_messages_in_flight", labels).lastValue == 0)
        }
    }

    @Test func lingeringMessagesAreSentByFlushAndByClose() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.linger = .seconds(600)
        configuration.messageTimeout = .seconds(900)
        let flushed = try KafkaProducer(configuration, logger: .test)
        let pending = try await flushed.enqueue(KafkaMessage(topic: topic, value: "x"))
        try await flushed.flush()
        #expect(try await pending.report.offset == 0)
        await flushed.close()
        // Another one: librdkafka may still be flushing, and what is sent meanwhile does not linger.
        let closed = try KafkaProducer(configuration, logger: .test)
        let last = try await closed.enqueue(KafkaMessage(topic: topic, value: "y"))
        #expect(await closed.close() == Self.summary(delivered: 1))
        #expect(try await last.report.offset == 1)
    }

    static func summary(delivered: Int = 0, failed: Int = 0, unknown: Int = 0) -> KafkaCloseSummary {
        var summary = KafkaCloseSummary()
        summary.delivered = delivered
        summary.failed = failed
        summary.unknown = unknown
        return summary
    }
}
