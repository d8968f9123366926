import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// A message that was sent or delivered twice is handled once.
@Suite(.timeLimit(.minutes(5)))
struct DeduplicationTests {
    @Test func aMessageThatWasSentTwiceIsHandledOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let message = KafkaMessage(topic: topic, value: "twice").stampedWithIdempotencyKey()
            try await producer.send(message)
            try await producer.send(message)
            try await producer.send(KafkaMessage(topic: topic, value: "last"))
        }
        let handled = Shared<[String]>([])
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let running = Task {
            try await consumer.forEach(deduplicating: .inMemory(maximumCount: 10)) { delivery in
                // The first attempt fails: its key must not be remembered.
                if delivery.attempt == 1, delivery.offset == 0 { throw Regret() }
                handled.change { $0.append(delivery.text) }
            }
        }
        try await handled.wait { $0.contains("last") }
        await consumer.close()
        try await running.value
        #expect(handled.value == ["twice", "last"])
        // All three are settled.
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 3)
    }

    @Test func aBatchIsHandledWithoutWhatWasHandledBeforeAndRemembersNothingWhereItsHandlerThrows() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let message = KafkaMessage(topic: topic, value: "twice").stampedWithIdempotencyKey()
            for message in [message, KafkaMessage(topic: topic, value: "once"), message] {
                try await producer.send(message)
            }
        }
        let batches = Shared<[[String]]>([])
        let configuration = cluster.quickConsumer(topic)
        let consumer = try KafkaConsumer(configuration, logger: .test)
        let running = Task {
            try await consumer.forEachBatch(
                maximumCount: 3,
                maximumWait: .seconds(10),
                retry: .fixed(.zero, maximumAttempts: nil),
                deduplicating: .inMemory(maximumCount: 10)
            ) { batch in
                let count = batches.change { batches in
                    batches.append(batch.map(\.text))
                    return batches.count
                }
                if count == 1 { throw Regret() }
                Task { await consumer.close() }
            }
        }
        try await running.value
        // The loop ends when closing begins, and the last commit comes after that.
        await consumer.close()
        #expect(batches.value == [["twice", "once"], ["twice", "once"]])
        #expect(try await GroupOffsets(cluster, configuration.group).committed(topic) == 3)
    }

    @Test func aProducerStampsEveryMessageThatHasNoKey() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.stampsIdempotencyKey = true
        try await withKafkaProducer(configuration, logger: .test) { producer in
            var own = KafkaMessage(topic: topic, value: "own")
            own.idempotencyKey = "mine"
            for message in [KafkaMessage(topic: topic, value: "a"), KafkaMessage(topic: topic, value: "b"), own] {
                try await producer.send(message)
            }
        }
        let headers = try await Kcat(cluster).read(topic, partition: 0, count: 3, format: "%h\n")
        let lines = String(decoding: headers, as: UTF8.self).split(separator: "\n")
        #expect(lines.count == 3)
        #expect(Set(lines).count == 3)
        #expect(lines.last == "idempotency-key=mine")
        for line in lines.prefix(2) { #expect(line.wholeMatch(of: /idempotency-key=[0-9a-f]{32}/) != nil) }
    }
    @Test func aMessageThatWaitedForRoomIsStampedToo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.stampsIdempotencyKey = true
        configuration.maximumBufferedMessages = 1
        try await withKafkaProducer(configuration, logger: .test) { producer in
            try await withThrowingDiscardingTaskGroup { group in
                for number in 0..<50 {
                    group.addTask { try await producer.send(KafkaMessage(topic: topic, value: "\(number)")) }
                }
            }
        }
        let headers = try await Kcat(cluster).read(topic, partition: 0, count: 50, format: "%h\n")
        let lines = String(decoding: headers, as: UTF8.self).split(separator: "\n")
        #expect(Set(lines).count == 50)
        for line in lines { #expect(line.wholeMatch(of: /idempotency-key=[0-9a-f]{32}/) != nil) }
    }
}
