import Testing

@testable import KafkaDelivery

/// The headers are those that Spring Kafka writes and reads, byte by byte.
struct DeadLetterHeaderTests {
    private let headers: KafkaHeaders = [
        "kafka_dlt-original-topic": "orders",
        "kafka_dlt-original-partition": [0, 0, 0, 7],
        "kafka_dlt-original-offset": [0, 0, 0, 1, 0, 0, 0, 2],
        "kafka_dlt-original-timestamp": [0, 0, 1, 0x8B, 0xCF, 0xE5, 0x68, 0x00],
        "kafka_dlt-original-timestamp-type": "CreateTime",
        "kafka_dlt-original-consumer-group": "billing",
        "kafka_dlt-exception-fqcn": "Shop.CardDeclined",
        "kafka_dlt-exception-message": "declined",
        "kafka_deliveryAttempt": [0, 0, 0, 3],
    ]

    @Test func springsHeadersAreRead() throws {
        let letter = try #require(KafkaDeadLetter(headers))
        #expect(letter.originalTopic == "orders")
        #expect(letter.originalPartition == 7)
        #expect(letter.originalOffset == 4_294_967_298)
        #expect(letter.originalTimestamp == KafkaTimestamp(millisecondsSince1970: 1_700_000_000_000))
        #expect(letter.originalTimestampType == .created)
        #expect(letter.originalConsumerGroup == "billing")
        #expect(letter.exceptionType == "Shop.CardDeclined")
        #expect(letter.exceptionMessage == "declined")
        #expect(letter.attempts == 3)
    }

    @Test func whatIsWrittenIsWhatSpringWrites() throws {
        let letter = try #require(KafkaDeadLetter(headers))
        #expect(letter.headers == headers)
    }

    private struct Declined: Error {}

    /// The headers of the dead letter that a message becomes which fails in a topic.
    private func letter(of headers: KafkaHeaders, failingIn topic: String) -> KafkaDeadLetter {
        let origin = MessageOrigin(topic: topic, partition: 1, offset: 99, attempts: 2)
        return KafkaDeadLetter(origin, headers, group: "second", error: Declined(), topicName: { $0 + "-dlq" })
    }

    @Test(arguments: ["orders-dlq", "orders-dlq-dlq", "orders-dlt", "orders.DLT", "orders.DLT-dlt"])
    func aDeadLetterThatFailsKeepsItsFirstOriginal(topic: String) {
        let letter = letter(of: headers, failingIn: topic)
        #expect(letter.originalTopic == "orders")
        #expect(letter.originalPartition == 7)
        #expect(letter.originalOffset == 4_294_967_298)
        #expect(letter.originalTimestamp == KafkaTimestamp(millisecondsSince1970: 1_700_000_000_000))
        #expect(letter.originalTimestampType == .created)
        #expect(letter.originalConsumerGroup == "billing")
        #expect(letter.exceptionType?.hasSuffix("Declined") == true, "the error and the attempts are the new ones")
        #expect(letter.attempts == 2)
    }

    @Test(arguments: ["orders", "invoices", "invoices-dlq", "orders-dlq-2", "-dlt"])
    func headersThatWereCopiedAlongSayNothingOfTheOriginal(topic: String) {
        let letter = letter(of: headers, failingIn: topic)
        #expect(letter.originalTopic == topic)
        #expect(letter.originalPartition == 1)
        #expect(letter.originalOffset == 99)
        #expect(letter.originalTimestamp == nil)
        #expect(letter.originalConsumerGroup == "second")
    }

    @Test func ofSeveralOriginalsThatSpringAppendedTheFirstIsKept() {
        var appended = headers
        appended.append(KafkaHeader("kafka_dlt-original-topic", "orders.DLT"))
        appended.append(KafkaHeader("kafka_dlt-original-partition", [0, 0, 0, 0]))
        appended.append(KafkaHeader("kafka_dlt-original-offset", [0, 0, 0, 0, 0, 0, 0, 5]))
        #expect(KafkaDeadLetter(appended)?.originalTopic == "orders.DLT", "the last is what Spring reads, too")
        let letter = letter(of: appended, failingIn: "orders.DLT.DLT")
        #expect(letter.originalTopic == "orders")
        #expect(letter.originalPartition == 7)
        #expect(letter.originalOffset == 4_294_967_298)
    }

    @Test func headersOfAnEarlierDeadLetterAreReplaced() {
        var message = KafkaMessage(topic: "orders-dlq", value: "v", headers: ["trace": "1"])
        message.headers.append(contentsOf: headers)
        message.headers.append(KafkaHeader("kafka_dlt-exception-stacktrace", "at Shop.charge"))
        for _ in 0..<3 {
            let letter = letter(of: message.headers, failingIn: "orders-dlq")
            message = MessageCopy(letter, of: message, to: "orders-dlq-dlq", partition: nil).message()
            #expect(message.headers.count == 10)
        }
        #expect(message.headers.first == KafkaHeader("trace", "1"))
        #expect(message.headers.all("kafka_dlt-exception-stacktrace").isEmpty, "it was of another error")
    }

    @Test func headersThatAreNotADeadLettersAreNoDeadLetter() {
        #expect(KafkaDeadLetter([:]) == nil)
        #expect(KafkaDeadLetter(["kafka_dlt-original-topic": "orders"]) == nil)
        var damaged = headers
        damaged.append(KafkaHeader("kafka_dlt-original-offset", "42"))
        #expect(KafkaDeadLetter(damaged) == nil)
        var partial = KafkaHeaders(headers.prefix(3))
        partial.append(KafkaHeader("kafka_deliveryAttempt", [1]))
        #expect(KafkaDeadLetter(partial)?.attempts == nil)
    }
}
