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
