import Testing

@testable import KafkaDelivery

/// Retry topics: names, and headers as Spring Kafka's non-blocking retries have them.
struct RetryTopicTests {
    private let headers: KafkaHeaders = [
        "kafka_original-topic": "orders",
        "kafka_original-partition": [0, 0, 0, 7],
        "kafka_original-offset": [0, 0, 0, 1, 0, 0, 0, 2],
        "kafka_original-timestamp": [0, 0, 1, 0x8B, 0xCF, 0xE5, 0x68, 0x00],
        "kafka_original-timestamp-type": "CreateTime",
        "kafka_original-consumer-group": "billing",
        "kafka_exception-fqcn": "Shop.CardDeclined",
        "kafka_exception-message": "declined",
        "retry_topic-attempts": [0, 0, 0, 3],
        "retry_topic-original-timestamp": [1, 0x8B, 0xCF, 0xE5, 0x68, 0x00],
        "retry_topic-backoff-timestamp": [1, 0x8B, 0xCF, 0xE5, 0x7B, 0x88],
    ]

    @Test func springsHeadersAreReadAndWritten() throws {
        let message = try #require(KafkaRetriedMessage(headers))
        #expect(message.originalTopic == "orders")
        #expect(message.originalPartition == 7)
        #expect(message.originalOffset == 4_294_967_298)
        #expect(message.originalTimestamp == KafkaTimestamp(millisecondsSince1970: 1_700_000_000_000))
        #expect(message.originalTimestampType == .created)
        #expect(message.originalConsumerGroup == "billing")
        #expect(message.exceptionType == "Shop.CardDeclined")
        #expect(message.exceptionMessage == "declined")
        #expect(message.attempt == 3)
        #expect(message.due == KafkaTimestamp(millisecondsSince1970: 1_700_000_005_000))
        #expect(message.headers == headers)
        #expect(headers.allSatisfy { KafkaRetriedMessage.Header.isOurs($0.name) })
    }

    @Test func anAttemptOfOneByteIsReadToo() {
        var old = headers
        old.append(KafkaHeader("retry_topic-attempts", [200]))
        #expect(KafkaRetriedMessage(old)?.attempt == 200)
    }

    @Test(arguments: [[], [0], [0, 0], [0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF], [1, 2, 3, 4, 5]] as [[UInt8]])
    func anAttemptThatIsNoneMakesItNoRetry(bytes: [UInt8]) {
        var damaged = headers
        damaged.append(KafkaHeader("retry_topic-attempts", bytes))
        #expect(KafkaRetriedMessage(damaged) == nil)
    }

    @Test func numbersAreWrittenAsJavasBigIntegerWritesThem() {
        let samples: [(Int64, [UInt8])] = [
            (0, [0]), (1, [1]), (-1, [0xFF]), (127, [0x7F]), (128, [0, 0x80]), (-128, [0x80]), (-129, [0xFF, 0x7F]),
            (255, [0, 0xFF]), (256, [1, 0]), (.max, [0x7F] + Array(repeating: 0xFF, count: 7)),
            (.min, [0x80] + Array(repeating: 0, count: 7)),
        ]
        for (number, bytes) in samples {
            #expect(number.signedBytes == bytes)
            #expect(Int64(signedBytes: KafkaBytes(bytes)) == number)
        }
        #expect(Int64(signedBytes: KafkaBytes([UInt8]())) == nil)
        #expect(Int64(signedBytes: KafkaBytes(Array(repeating: 0, count: 9))) == nil)
    }

    @Test func aTopicIsNamedAfterItsDelay() {
        let names: [(Duration, String)] = [
            (.seconds(5), "orders-retry-5s"), (.seconds(60), "orders-retry-1m"), (.seconds(90), "orders-retry-90s"),
            (.seconds(7_200), "orders-retry-2h"), (.seconds(86_400), "orders-retry-1d"),
            (.milliseconds(250), "orders-retry-250ms"), (.milliseconds(1_500), "orders-retry-1500ms"),
            (.zero, "orders-retry-0ms"),
        ]
        for (delay, name) in names { #expect(KafkaRetryTopics.defaultTopicName("orders", delay) == name) }
    }

    private func topics() throws -> KafkaRetryTopics {
        let producer = try KafkaProducer(.init(bootstrapServers: ["127.0.0.1:1"]))
        return KafkaRetryTopics(delays: [.seconds(5), .seconds(60)], producer: producer)
    }

    @Test func whatIsSubscribedToIsDerivedOnce() throws {
        let topics = try topics()
        #expect(topics.topics(of: "orders") == ["orders-retry-5s", "orders-retry-1m"])
        #expect(topics.topics(of: ["orders"]) == ["orders-retry-1m", "orders-retry-5s"])
        #expect(topics.topics(of: ["orders", "orders-retry-5s"]) == ["orders-retry-1m"])
        #expect(topics.topics(of: ["orders", "orders-retry-5s", "orders-retry-1m"]) == [])
        #expect(topics.topics(of: ["^orders.*"]) == [], "nobody knows what it will match")
    }

    @Test func afterTheLastRetryTopicThereIsNone() throws {
        let topics = try topics()
        var origin = MessageOrigin(topic: "orders", partition: 0, offset: 0, attempts: 1)
        #expect(topics.next(after: origin)?.topic == "orders-retry-5s")
        origin.retryTopic = 0
        #expect(topics.next(after: origin)?.topic == "orders-retry-1m")
        origin.retryTopic = 1
        #expect(topics.next(after: origin)?.topic == nil)
    }
}
