import Logging
import Testing

@testable import KafkaDelivery

/// What can be said of a message before it is sent.
struct RefusalTests {
    /// librdkafka says whether a message is too large without asking anybody.
    @Test(arguments: [
        KafkaMessage(topic: "t", key: "key", value: "value"),
        KafkaMessage(topic: "t", value: nil, headers: ["empty": [], "null": nil, "trace": "42"]),
        KafkaMessage(
            topic: "t",
            key: [],
            value: "v",
            headers: [
                "a": KafkaBytes(Array(repeating: 1, count: 63)), "b": KafkaBytes(Array(repeating: 1, count: 64)),
                "c": KafkaBytes(Array(repeating: 1, count: 8_191)), "d": KafkaBytes(Array(repeating: 1, count: 8_192)),
            ]
        ),
    ])
    func aMessagesSizeIsWhatLibrdkafkaComparesWithItsLimit(message: KafkaMessage) async throws {
        var configuration = KafkaProducer.Configuration(bootstrapServers: ["127.0.0.1:1"])
        configuration.maximumMessageBytes = 30_000
        var logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        logger.logLevel = .critical
        let producer = try KafkaProducer(configuration, logger: logger)
        var message = message
        message.value = KafkaBytes(Array(repeating: 0, count: 30_000 - message.wireSize + (message.value?.count ?? 0)))
        #expect(message.wireSize == 30_000)
        #expect(message.refusal(maximumBytes: 30_000) == nil)
        _ = try await producer.enqueue(message)
        message.value = KafkaBytes(Array(repeating: 0, count: (message.value?.count ?? 0) + 1))
        #expect(message.refusal(maximumBytes: 30_000)?.kind == .messageTooLarge)
        let error = await #expect(throws: KafkaError.self) { _ = try await producer.enqueue(message) }
        #expect(error?.kind == .messageTooLarge)
        await producer.close(within: .zero)
    }

    @Test func namesThatNoBrokerHasATopicOfAreRefused() {
        for name in ["orders", "a.b_c-D9", String(repeating: "t", count: 249)] {
            #expect(KafkaMessage.refusal(ofTopic: name) == nil)
        }
        for name in ["", ".", "..", "a b", "a/b", "ö", "a\0", String(repeating: "t", count: 250)] {
            #expect(KafkaMessage.refusal(ofTopic: name)?.kind == .invalidArgument)
        }
    }

    @Test func whatIsLeftOutIsTheErrorsTextAndThenAllButTheOrigin() throws {
        var letter = try #require(
            KafkaDeadLetter([
                "kafka_dlt-original-topic": "orders",
                "kafka_dlt-original-partition": [0, 0, 0, 7],
                "kafka_dlt-original-offset": [0, 0, 0, 0, 0, 0, 0, 2],
                "kafka_dlt-exception-fqcn": "Shop.CardDeclined",
                "kafka_dlt-exception-message": "declined",
            ])
        )
        let content = KafkaMessage(
            topic: "orders",
            value: "v",
            headers: ["trace": "1", "kafka_delivery-redrive-count": "2"]
        )
        func names(_ letter: KafkaDeadLetter) -> [[String]] {
            let copy = MessageCopy(letter, of: content, to: "orders-dlt", partition: 7)
            var shedding = MessageCopy.Shedding.nothing
            var names = [copy.message().headers.map(\.name)]
            while let next = copy.next(after: shedding) {
                names.append(copy.message(without: next).headers.map(\.name))
                shedding = next
            }
            return names
        }
        let application = ["trace", "kafka_delivery-redrive-count"]
        let origin = ["kafka_dlt-original-topic", "kafka_dlt-original-partition", "kafka_dlt-original-offset"]
        let all = application + origin + ["kafka_dlt-exception-fqcn", "kafka_dlt-exception-message"]
        #expect(names(letter) == [all, Array(all.dropLast()), application + origin])
        letter.exceptionMessage = nil
        #expect(names(letter) == [Array(all.dropLast()), application + origin])
        letter.exceptionType = nil
        #expect(names(letter) == [application + origin], "there is nothing that could be left out")
    }

    @Test func aRetryTopicsCopyKeepsWhatMakesItOne() throws {
        let retried = try #require(
            KafkaRetriedMessage([
                "kafka_original-topic": "orders",
                "kafka_original-partition": [0, 0, 0, 7],
                "kafka_original-offset": [0, 0, 0, 0, 0, 0, 0, 2],
                "kafka_exception-message": "declined",
                "retry_topic-attempts": [0, 0, 0, 2],
                "retry_topic-original-timestamp": [1],
                "retry_topic-backoff-timestamp": [2],
            ])
        )
        let content = KafkaMessage(topic: "orders", partition: 7, value: "v")
        let copy = MessageCopy(retried, of: content, to: "orders-retry-5s", partition: 7)
        let least = KafkaRetriedMessage(copy.message(without: .allButOrigin).headers)
        #expect(least?.originalOffset == 2)
        #expect(least?.attempt == 2)
        #expect(least?.due == retried.due)
        #expect(least?.exceptionMessage == nil)
    }
}
