import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Dead letters that can never be stored, in the application's hands.
@Suite(.timeLimit(.minutes(5)))
struct HandOverTests {
    struct Failure: Error, CustomStringConvertible { var description: String { "the store is away" } }

    private static func narrowProducer(_ cluster: TestCluster) throws -> KafkaProducer {
        var configuration = cluster.producerConfiguration()
        configuration.maximumMessageBytes = 10_000
        return try KafkaProducer(configuration, logger: .test)
    }

    /// A topic with so many messages, each too large for a letter.
    private static func topic(_ cluster: TestCluster, _ count: Int) async throws -> String {
        let topic = try await cluster.makeTopic()
        try await cluster.makeTopic(exactly: topic + "-dlt")
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let value = KafkaBytes(Array(repeating: 1, count: 20_000))
            let messages = (0..<count).map { KafkaMessage(topic: topic, key: "\($0)", value: value) }
            for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        }
        return topic
    }

    @Test(arguments: [KafkaConsumer.Concurrency.unordered(maximum: 2), .perKey(maximum: 2)])
    func theClosureCountsAmongTheHandlersSoManyAtATime(concurrency: KafkaConsumer.Concurrency) async throws {
        let cluster = try TestCluster()
        let topic = try await Self.topic(cluster, 40)
        let producer = try Self.narrowProducer(cluster)
        // How many run, and the most that ever did; how many were handed over.
        let running = Shared((now: 0, most: 0, ended: 0))
        @Sendable func occupy() async {
            running.change {
                $0.now += 1
                $0.most = max($0.most, $0.now)
            }
            for _ in 0..<100 { await Task.yield() }
            running.change { $0.now -= 1 }
        }
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .silent) { consumer in
            let deadLetters = KafkaDeadLetters(
                producer: producer,
                onRefusal: .handOver { _, _, _ in
                    await occupy()
                    running.change { $0.ended += 1 }
                }
            )
            let handling = Task {
                try await consumer.forEach(concurrency: concurrency, retry: .none, deadLetters: deadLetters) { _ in
                    await occupy()
                    throw Failure()
                }
            }
            try await running.wait { $0.ended == 40 }
            #expect(running.value.most <= 2)
            let summary = await consumer.close()
            try await handling.value
            #expect(summary.unsettled == 0)
        }
        await producer.close()
    }

    @Test func aLoopThatIsCancelledEndsWhereAClosureWaitsForItsTurn() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.makeTopic(exactly: topic + "-dlt")
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for count in [20_000, 1] {
                let value = KafkaBytes(Array(repeating: 1, count: count))
                try await producer.send(KafkaMessage(topic: topic, key: "\(count)", value: value))
            }
        }
        let producer = try Self.narrowProducer(cluster)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .silent) { consumer in
            let events = consumer.events
            let isRefused = Shared(false)
            let listening = Task {
                for await event in events {
                    if case .deadLetterRefused = event { isRefused.change { $0 = true } }
                }
            }
            let handling = Task {
                try await consumer.forEach(
                    concurrency: .unordered(maximum: 1),
                    retry: .none,
                    deadLetters: KafkaDeadLetters(producer: producer, onRefusal: .handOver { _, _, _ in })
                ) { delivery in
                    if delivery.offset == 0 { throw Failure() }
                    try await isRefused.wait { $0 }
                    try await isRefused.wait { !$0 }
                }
            }
            try await isRefused.wait { $0 }
            handling.cancel()
            _ = await handling.result
            await consumer.close()
            await listening.value
        }
        await producer.close()
    }

    @Test func aClosureThatSaysItselfThatTheMessageComesAgainHasNotTakenItOver() async throws {
        let cluster = try TestCluster()
        let topic = try await Self.topic(cluster, 1)
        let producer = try Self.narrowProducer(cluster)
        let attempts = Shared(0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .silent) { consumer in
            let events = consumer.events
            let handling = Task {
                try await consumer.forEach(
                    retry: .none,
                    deadLetters: KafkaDeadLetters(
                        producer: producer,
                        onRefusal: .handOver { delivery, _, _ in delivery.negativelyAcknowledge(after: .zero) }
                    )
                ) { delivery in
                    attempts.change { $0 += 1 }
                    if delivery.attempt == 1 { throw Failure() }
                }
            }
            try await attempts.wait { $0 == 2 }
            let summary = await consumer.close()
            try await handling.value
            #expect(summary.unsettled == 0)
            for await event in events {
                if case .handedOver = event { Issue.record("it was not") }
            }
        }
        await producer.close()
    }

    @Test func aClosureThatSaysSoOfAPartitionThatWasSoughtMeanwhileHasNotTakenItOver() async throws {
        let cluster = try TestCluster()
        let topic = try await Self.topic(cluster, 1)
        let producer = try Self.narrowProducer(cluster)
        let attempts = Shared(0)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .silent) { consumer in
            let events = consumer.events
            let handling = Task {
                try await consumer.forEach(
                    retry: .none,
                    deadLetters: KafkaDeadLetters(
                        producer: producer,
                        onRefusal: .handOver { delivery, _, _ in
                            try await consumer.seek(delivery.topicPartition, to: .beginning)
                            delivery.negativelyAcknowledge(after: .zero)
                        }
                    )
                ) { _ in
                    attempts.change { $0 += 1 }
                    if attempts.value == 1 { throw Failure() }
                }
            }
            try await attempts.wait { $0 == 2 }
            let summary = await consumer.close()
            try await handling.value
            #expect(summary.unsettled == 0)
            for await event in events {
                if case .handedOver = event { Issue.record("it was not") }
            }
        }
        await producer.close()
    }

    @Test func whatAClosureThrewIsInTheEvent() async throws {
        let cluster = try TestCluster()
        let topic = try await Self.topic(cluster, 1)
        let producer = try Self.narrowProducer(cluster)
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .silent) { consumer in
            let events = consumer.events
            let handling = Task {
                try await consumer.forEach(
                    retry: .none,
                    deadLetters: KafkaDeadLetters(
                        producer: producer,
                        onRefusal: .handOver { _, _, _ in throw Failure() }
                    )
                ) { _ in throw Failure() }
            }
            let error = try await events.first { event -> KafkaError? in
                if case .deadLetterFailed(_, let error) = event { error } else { nil }
            }
            #expect(error.kind == .messageTooLarge)
            #expect(error.reason.contains("the store is away"))
            await consumer.close()
            try await handling.value
        }
        await producer.close()
    }
}
