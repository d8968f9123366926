import KafkaDelivery
import Testing

/// What a dead letter says of its original, and of its own time.
@Suite(.timeLimit(.minutes(5)))
struct DeadLetterTests {
    struct Failure: Error {}

    @Test func aDeadLetterHasTheTimeOfItsSendingSoThatRetentionCountsFromThen() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let letters = try await cluster.makeTopic(name: "letters")
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "old", timestamp: .earlier))
        let start = KafkaTimestamp.now
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            _ = try await consumer.firstDeadLetter(KafkaDeadLetters(producer: producer, topicName: { _ in letters }))
        }
        try await withKafkaConsumer(cluster.quickConsumer(letters), logger: .test) { consumer in
            let delivery = try #require(try await consumer.take(1).first)
            #expect((delivery.timestamp ?? .earlier) >= start)
            #expect(delivery.deadLetter?.originalTimestamp == .earlier)
            #expect(delivery.deadLetter?.originalTimestampType == .created)
        }
        await producer.close()
    }

    @Test func aLetterOfALetterNamesTheFirstOriginalAndHasNoMoreHeaders() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        for suffix in ["-dlt", "-dlt-dlt", "-dlt-dlt-dlt"] { try await cluster.makeTopic(exactly: topic + suffix) }
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await cluster.fill(topic, count: 1)
        try await producer.send(
            KafkaMessage(topic: topic, value: "1", headers: ["trace": "42"], timestamp: .earlier)
        )
        var letters: [KafkaHeaders] = []
        for round in 0..<3 {
            let place = topic + String(repeating: "-dlt", count: round)
            try await withKafkaConsumer(cluster.quickConsumer(place), logger: .test) { consumer in
                let events = consumer.events
                async let handling: Void = consumer.forEach(
                    retry: .none,
                    deadLetters: KafkaDeadLetters(producer: producer)
                ) { delivery in
                    if delivery.value == "1" { throw Failure() }
                }
                _ = try await events.first { if case .deadLettered = $0 { true } else { nil } }
                await consumer.close()
                try await handling
            }
            try await withKafkaConsumer(cluster.quickConsumer(place + "-dlt"), logger: .test) { consumer in
                letters += try await consumer.take(1).map(\.headers)
            }
        }
        await producer.close()
        #expect(Set(letters.map(\.count)) == [10], "the original's, and nine that say why")
        for headers in letters {
            #expect(headers.all("trace") == ["42"])
            let letter = KafkaDeadLetter(headers)
            #expect(letter?.originalTopic == topic)
            #expect(letter?.originalOffset == 1)
            #expect(letter?.originalTimestamp == .earlier)
        }
    }

    @Test func aLetterThatWasSentBackWithItsHeadersHasOnlyTheNewOnesWhenItFailsAgain() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.makeTopic(exactly: topic + "-dlt")
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await cluster.fill(topic, count: 1)
        let group = TestCluster.uniqueName("group")
        let configuration = cluster.quickConsumer(topic, group: group)
        var counts: [Int] = []
        for round in 0..<2 {
            try await withKafkaConsumer(configuration, logger: .test) { consumer in
                _ = try await consumer.firstDeadLetter(KafkaDeadLetters(producer: producer))
            }
            try await withKafkaConsumer(cluster.quickConsumer(topic + "-dlt"), logger: .test) { consumer in
                let letter = try #require(try await consumer.take(round + 1).last)
                counts.append(letter.headers.count)
                #expect(letter.deadLetter?.originalTopic == topic)
                #expect(letter.deadLetter?.originalOffset == Int64(round), "where it failed last")
                #expect(letter.headers.all("kafka_dlt-original-offset").count == 1)
                // As a tool that copies a topic would send it.
                var copy = letter.message
                copy.topic = topic
                try await producer.send(copy)
            }
        }
        await producer.close()
        #expect(counts == [9, 9])
    }
}

extension KafkaConsumer {
    /// Handles messages, none of which can be handled, until the first is stored as a dead letter; then closes.
    func firstDeadLetter(
        _ deadLetters: KafkaDeadLetters,
        retry: KafkaRetryPolicy = .none,
        retryTopics: KafkaRetryTopics? = nil
    ) async throws -> KafkaDeliveryReport {
        let events = events
        async let handling: Void = forEach(retry: retry, retryTopics: retryTopics, deadLetters: deadLetters) { _ in
            throw DeadLetterTests.Failure()
        }
        let report = try await events.first { event -> KafkaDeliveryReport? in
            if case .deadLettered(_, let report) = event { report } else { nil }
        }
        await close()
        try await handling
        return report
    }
}
