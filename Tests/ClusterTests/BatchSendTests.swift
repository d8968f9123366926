import KafkaDelivery
import KafkaDeliveryTesting
import Synchronization
import Testing

/// `send(contentsOf:)`: one result for each message, in order, whatever becomes of it and of the others.
@Suite(.timeLimit(.minutes(5)))
struct BatchSendTests {
    /// A batch of at most a thousand messages that has been handed over, and waits: a task on the producer's thread does not
    /// give way before that.
    private func begin(_ messages: [KafkaMessage], _ producer: KafkaProducer) async
        -> Task<[Result<KafkaDeliveryReport, KafkaError>], Never>
    {
        let task = Task(executorPreference: producer.taskExecutor) { await producer.send(contentsOf: messages) }
        await Task(executorPreference: producer.taskExecutor) {}.value
        return task
    }

    private func messages(_ topic: String, _ numbers: Range<Int>) -> [KafkaMessage] {
        numbers.map { KafkaMessage(topic: topic, value: "\($0)") }
    }

    @Test(arguments: [0, 1, 1_023, 1_024, 1_025, 5_000])
    func anArrayIsStoredInItsOrder(count: Int) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let reports = try await producer.send(contentsOf: messages(topic, 0..<count)).map { try $0.get() }
            #expect(reports.map(\.offset) == (0..<count).map { Int64($0) })
            #expect(reports.allSatisfy { $0.topic == topic && $0.timestamp != nil })
        }
        guard count > 0 else { return }
        let stored = try await Kcat(cluster).read(topic, partition: 0, count: count, format: "%s\n")
        #expect(String(decoding: stored, as: UTF8.self) == (0..<count).map { "\($0)\n" }.joined())
    }

    @Test func aSequenceIsReadOnceAndInOrder() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let count = 3_000
        let read = Mutex<[Int]>([])
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let results = await producer.send(
                contentsOf: (0..<count).lazy.map { number in
                    read.withLock { $0.append(number) }
                    return KafkaMessage(topic: topic, value: "\(number)")
                }
            )
            let offsets = try results.map { try $0.get().offset }
            #expect(offsets == (0..<count).map { Int64($0) })
        }
        #expect(read.withLock { $0 } == Array(0..<count))
    }

    @Test func whatIsRefusedLeavesTheOthersInPlace() async throws {
        let cluster = try TestCluster()
        let topics = [
            try await cluster.makeTopic(name: "one"), try await cluster.makeTopic(name: "two"),
        ]
        var configuration = cluster.producerConfiguration()
        configuration.maximumMessageBytes = 10_000
        try await withKafkaProducer(configuration, logger: .test) { producer in
            // Topics change in runs and one by one.
            var messages = (0..<3_000).map { number in
                KafkaMessage(topic: topics[number < 1_500 ? number / 700 % 2 : number % 2], value: "\(number)")
            }
            let refused: [Int: KafkaError.Kind] = [
                0: .invalidArgument, 700: .messageTooLarge, 1_023: .unknownTopicOrPartition, 1_024: .invalidArgument,
                2_000: .invalidArgument, 2_999: .messageTooLarge,
            ]
            for (number, kind) in refused {
                switch kind {
                case .messageTooLarge: messages[number].value = KafkaBytes([UInt8](repeating: 1, count: 20_000))
                case .unknownTopicOrPartition: messages[number].partition = 99
                default: messages[number].topic = ""
                }
            }
            let results = await producer.send(contentsOf: messages)
            #expect(results.count == messages.count)
            var next: [String: Int64] = [:]
            for (number, result) in results.enumerated() {
                switch result {
                case .success(let report):
                    #expect(refused[number] == nil)
                    #expect(report.topic == messages[number].topic)
                    #expect(report.offset == next[report.topic, default: 0])
                    next[report.topic, default: 0] += 1
                case .failure(let error):
                    #expect(error.kind == refused[number])
                    #expect(error.persistence == .notPersisted)
                }
            }
            #expect(next.values.reduce(0, +) == 2_994)
        }
    }

    /// librdkafka is given many at once where it takes them, and the others by themselves.
    @Test func messagesOfAllKindsArriveInTheirOrderAndAsTheyWere() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let sizes = [nil, 0, 1, 3, 100, 1_000, 4_095, 4_096, 8_190, 8_191, 8_192, 8_193, 20_000]
        let messages = (0..<1_200).map { number in
            // A long stretch of small ones first, then all sizes next to each other.
            let size = number < 400 ? number % 3 * 10 : sizes[number % sizes.count]
            var message = KafkaMessage(
                topic: topic,
                key: number % 5 == 0 ? nil : KafkaBytes(number % 5 == 1 ? "" : "\(number)"),
                value: size.map { KafkaBytes([UInt8](repeating: UInt8(truncatingIfNeeded: number), count: $0)) }
            )
            if number % 17 == 16 { message.partition = 0 }
            if number % 19 == 18 { message.headers = [KafkaHeader("number", "\(number)")] }
            if number % 23 == 22 { message.timestamp = .earlier }
            return message
        }
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            // Afterwards the partitions are known.
            try await producer.send(KafkaMessage(topic: topic, value: "first"))
            let offsets = try await producer.send(contentsOf: messages).map { try $0.get().offset }
            #expect(offsets == Array(1...Int64(messages.count)))
        }
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let deliveries = try await consumer.take(messages.count + 1).dropFirst()
            for (delivery, sent) in zip(deliveries, messages) {
                var expected = sent
                expected.partition = 0
                if sent.timestamp == nil { expected.timestamp = delivery.message.timestamp }
                #expect(delivery.message == expected)
            }
        }
    }

    @Test func aBatchThatDoesNotFitWaitsForRoomInItsOrder() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.maximumBufferedMessages = 10
        try await withKafkaProducer(configuration, logger: .test) { producer in
            async let other = producer.send(contentsOf: messages(topic, 0..<500))
            let mine = await producer.send(contentsOf: messages(topic, 0..<500))
            let offsets = try mine.map { try $0.get().offset }
            #expect(offsets == offsets.sorted())
            let others = try await other.map { try $0.get().offset }
            #expect(Set(offsets + others) == Set(0..<1_000))
            // Nothing is left behind that flushing or closing would wait for.
            try await producer.flush()
        }
    }

    @Test func closingDuringBatchesGivesEveryMessageOneOutcome() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        let (confirmed, refused) = await withTaskGroup(of: [Result<KafkaDeliveryReport, KafkaError>].self) { group in
            for _ in 0..<20 {
                group.addTask { await producer.send(contentsOf: messages(topic, 0..<5_000)) }
            }
            group.addTask {
                await producer.close()
                return []
            }
            return await group.reduce(into: (Set<Int64>(), 0)) { counts, results in
                #expect(results.isEmpty || results.count == 5_000)
                for result in results {
                    switch result {
                    case .success(let report): counts.0.insert(report.offset)
                    case .failure(let error):
                        #expect(error.kind == .closed)
                        #expect(error.persistence == .notPersisted)
                        counts.1 += 1
                    }
                }
            }
        }
        #expect(confirmed.count + refused == 100_000)
        #expect(try await Kcat(cluster).count(topic, partition: 0) == confirmed.count + 1)
    }

    @Test(.enabled(if: TestCluster.isMock, "stops the brokers"))
    func closingWithoutBrokersCountsEveryMessageOfABatch() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.takeDown()
        let batches = [
            await begin(messages(topic, 0..<1_000), producer), await begin(messages(topic, 0..<500), producer),
        ]
        let summary = await producer.close(within: .milliseconds(100))
        #expect(summary.delivered == 0)
        #expect(summary.failed + summary.unknown == 1_500)
        for batch in batches {
            for result in await batch.value {
                let error = #expect(throws: KafkaError.self) { try result.get() }
                #expect(error?.kind == .closed)
            }
        }
    }

    @Test(.enabled(if: TestCluster.isMock, "stops the brokers"))
    func aCancelledBatchIsSentAllTheSame() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.additionalProperties = ["reconnect.backoff.max.ms": "100"]
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.takeDown()
        let task = await begin(messages(topic, 0..<1_000), producer)
        task.cancel()
        let results = await task.value
        #expect(results.count == 1_000)
        for result in results {
            let error = #expect(throws: KafkaError.self) { try result.get() }
            #expect(error?.kind == .cancelled)
            #expect(error?.persistence == .possiblyPersisted)
        }
        try cluster.mock.bringUp()
        let summary = await producer.close()
        #expect(summary.delivered == 1_000)
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 1_001)
    }
}
