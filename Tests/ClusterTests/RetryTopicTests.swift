import Foundation
import KafkaDelivery
import Testing

/// The non-blocking form of trying again: a message that fails waits in a topic of its own, and what comes after it goes on.
@Suite(.timeLimit(.minutes(5)))
struct RetryTopicClusterTests {
    struct Failure: Error, CustomStringConvertible {
        let description = "not today"
    }

    private struct Topics {
        let original: String
        let retries: [String]
        let letters: String
    }

    /// An original topic, its retry topics by their default names, and its dead letters.
    private func makeTopics(
        _ cluster: TestCluster,
        partitions: Int = 1,
        retries: [String],
        name: String = #function
    ) async throws -> Topics {
        let original = try await cluster.makeTopic(partitions: partitions, name: name)
        let names = retries.map { "\(original)-retry-\($0)" }
        for name in names + ["\(original)-dlt"] { try await cluster.makeTopic(exactly: name, partitions: partitions) }
        return Topics(original: original, retries: names, letters: "\(original)-dlt")
    }

    @Test(arguments: [KafkaConsumer.Concurrency.perPartition, .perKey(maximum: 4), .unordered(maximum: 4)])
    func whatFailsComesAgainWhenItIsDueAndTheRestGoesOn(concurrency: KafkaConsumer.Concurrency) async throws {
        let cluster = try TestCluster()
        let topics = try await makeTopics(cluster, partitions: 2, retries: ["300ms", "500ms"])
        try await cluster.fill(topics.original, partitions: 2, count: 20)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let handled = Shared<[KafkaRetriedMessage?]>([])
        let early = Shared<[KafkaRetriedMessage]>([])
        let configuration = cluster.quickConsumer(topics.original)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await consumer.forEach(
                concurrency: concurrency,
                retry: .none,
                retryTopics: KafkaRetryTopics(delays: [.milliseconds(300), .milliseconds(500)], producer: producer),
                deadLetters: KafkaDeadLetters(producer: producer)
            ) { delivery in
                let retried = delivery.retried
                #expect(delivery.attempt == 1, "waiting for its time is no attempt")
                if let retried, let due = retried.due, KafkaTimestamp(.now) < due {
                    early.change { $0.append(retried) }
                }
                // By its number a message succeeds at its first, second or third attempt.
                let number = Int(delivery.text) ?? 0
                guard (retried?.attempt ?? 1) > number % 3 else { throw Failure() }
                if handled.change({
                    $0.append(retried); return $0.count
                }) == 40 {
                    Task { await consumer.close() }
                }
            }
        }
        #expect(early.value.isEmpty, "nothing is handed over before it is due")
        let attempts = handled.value.map { $0?.attempt ?? 1 }
        #expect(
            attempts.sorted() == Array(repeating: 1, count: 14) + Array(repeating: 2, count: 14)
                + Array(repeating: 3, count: 12)
        )
        let retried = handled.value.compactMap(\.self)
        #expect(Set(retried.map(\.originalTopic)) == [topics.original])
        #expect(
            Set(retried.map { "\($0.originalPartition)/\($0.originalOffset)" }).count == 26,
            "each knows where it is from"
        )
        #expect(
            retried.allSatisfy { $0.exceptionMessage == "not today" && $0.originalConsumerGroup == configuration.group }
        )
        await producer.close()
        for topic in [topics.original] + topics.retries {
            let offsets = GroupOffsets(cluster, configuration.group)
            let ends = try await Kcat(cluster).count(topic, partition: 0) + Kcat(cluster).count(topic, partition: 1)
            let committed = try await offsets.committed(topic, partitions: 0...1).values.reduce(0, +)
            #expect(Int(committed) == ends, "all of \(topic) is settled")
        }
        #expect(try await Kcat(cluster).count(topics.letters, partition: 0) == 0)
    }

    @Test func afterTheLastRetryTopicItIsADeadLetterOfTheOriginal() async throws {
        let cluster = try TestCluster()
        let topics = try await makeTopics(cluster, retries: ["10ms", "20ms"])
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let sent = KafkaMessage(
            topic: topics.original,
            partition: 0,
            key: "key",
            value: "value",
            headers: ["trace": "42", "trace": nil],
            timestamp: KafkaTimestamp.earlier
        )
        try await producer.send(sent)
        let start = KafkaTimestamp(.now)
        let attempts = Shared<[Int]>([])
        let configuration = cluster.quickConsumer(topics.original)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            async let handling: Void = consumer.forEach(
                // Two attempts in each place.
                retry: .fixed(.milliseconds(1), maximumAttempts: 2),
                retryTopics: KafkaRetryTopics(delays: [.milliseconds(10), .milliseconds(20)], producer: producer),
                deadLetters: KafkaDeadLetters(producer: producer)
            ) { delivery in
                attempts.change { $0.append((delivery.retried?.attempt ?? 1) + delivery.attempt - 1) }
                throw Failure()
            }
            _ = try await events.first { event -> Bool? in
                if case .deadLettered = event { true } else { nil }
            }
            await consumer.close()
            try await handling
        }
        #expect(attempts.value == [1, 2, 3, 4, 5, 6])
        await producer.close()
        try await withKafkaConsumer(cluster.quickConsumer(topics.letters), logger: .test) { consumer in
            let delivery = try #require(try await consumer.take(1).first)
            #expect(delivery.key == "key")
            #expect(delivery.value == "value")
            #expect((delivery.timestamp ?? .earlier) >= start, "its topic's retention counts from its sending")
            #expect(Array(delivery.headers.prefix(2)) == Array(sent.headers))
            #expect(delivery.retried == nil, "sent again, it begins anew")
            let letter = try #require(delivery.deadLetter)
            #expect(letter.originalTopic == topics.original)
            #expect(letter.originalPartition == 0)
            #expect(letter.originalOffset == 0)
            #expect(letter.originalTimestamp == sent.timestamp)
            #expect(letter.attempts == 6)
        }
    }

    @Test func namedPartitionsHaveToNameTheRetryTopicsToo() async throws {
        let cluster = try TestCluster()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let orders = KafkaTopicPartition(topic: "orders", partition: 0)
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: cluster.bootstrapServers,
            partitions: [orders]
        )
        let topics = KafkaRetryTopics(delays: [.seconds(5)], producer: producer)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let error = await #expect(throws: KafkaError.self) {
                try await consumer.forEach(retry: .none, retryTopics: topics) { _ in }
            }
            #expect(error?.kind == .invalidConfiguration)
            #expect(error?.reason.contains("orders-retry-5s") == true)
        }
        configuration.partitions = [orders, KafkaTopicPartition(topic: "orders-retry-5s", partition: 0)]
        let consumer = try KafkaConsumer(configuration, logger: .test)
        await consumer.close()
        try await consumer.forEach(retry: .none, retryTopics: topics) { _ in }
        await producer.close()
    }

    @Test func retryTopicsNeedARetryPolicyThatGivesUp() async throws {
        let cluster = try TestCluster()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let topics = KafkaRetryTopics(delays: [.seconds(5)], producer: producer)
        try await withKafkaConsumer(cluster.consumerConfiguration(topics: ["any"]), logger: .test) { consumer in
            let error = await #expect(throws: KafkaError.self) {
                try await consumer.forEach(retryTopics: topics) { _ in }
            }
            #expect(error?.kind == .invalidConfiguration)
            #expect(error?.reason.contains("maximumAttempts") == true)
        }
        await producer.close()
    }

    @Test func whatIsNotWorthRetryingIsADeadLetterAtOnce() async throws {
        let cluster = try TestCluster()
        let topics = try await makeTopics(cluster, retries: ["1h"])
        try await cluster.fill(topics.original, count: 1)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await withKafkaConsumer(cluster.quickConsumer(topics.original), logger: .test) { consumer in
            let events = consumer.events
            var retry = KafkaRetryPolicy.none
            retry.isWorthRetrying = { !($0 is Failure) }
            async let handling: Void = consumer.forEach(
                retry: retry,
                retryTopics: KafkaRetryTopics(delays: [.seconds(3_600)], producer: producer),
                deadLetters: KafkaDeadLetters(producer: producer)
            ) { _ in throw Failure() }
            _ = try await events.first { event -> Bool? in
                if case .deadLettered = event { true } else { nil }
            }
            await consumer.close()
            try await handling
        }
        await producer.close()
        #expect(try await Kcat(cluster).count(topics.retries[0], partition: 0) == 0)
        #expect(try await Kcat(cluster).count(topics.letters, partition: 0) == 1)
    }

    @Test func headersThatWereCopiedAlongMakeNoRetryOfAMessage() async throws {
        let cluster = try TestCluster()
        let topics = try await makeTopics(cluster, retries: ["1h"])
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        // As a service that forwards all headers would send it: due in the year 2100, and from somewhere else.
        let copied: KafkaHeaders = [
            "kafka_original-topic": "elsewhere",
            "kafka_original-partition": [0, 0, 0, 9],
            "kafka_original-offset": [0, 0, 0, 0, 0, 0, 0, 9],
            "retry_topic-attempts": [0, 0, 0, 9],
            "retry_topic-backoff-timestamp": [3, 0xBB, 0x2C, 0xC3, 0xD8, 0x00],
        ]
        try await producer.send(KafkaMessage(topic: topics.original, value: "value", headers: copied))
        let stored = try await withKafkaConsumer(cluster.quickConsumer(topics.original), logger: .test) { consumer in
            let events = consumer.events
            async let handling: Void = consumer.forEach(
                retry: .none,
                retryTopics: KafkaRetryTopics(delays: [.seconds(3_600)], producer: producer),
                deadLetters: KafkaDeadLetters(producer: producer)
            ) { _ in throw Failure() }
            let attempt = try await events.first { event -> Int? in
                if case .retried(_, let attempt, _, _?) = event { attempt } else { nil }
            }
            #expect(attempt == 2)
            await consumer.close()
            try await handling
            return try await withKafkaConsumer(cluster.quickConsumer(topics.retries[0]), logger: .test) { reader in
                try #require(try await reader.take(1).first?.retried)
            }
        }
        #expect(stored.originalTopic == topics.original)
        #expect(stored.originalPartition == 0)
        #expect(stored.originalOffset == 0)
        #expect(stored.attempt == 2)
        await producer.close()
    }
}
