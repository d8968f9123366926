import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// A service's handler is tested without a cluster, with deliveries that are made by hand.
struct RecordedDeliveryTests {
    private struct Failure: Error, Equatable {}

    @Test func aDeliveryMadeByHandSaysWhatItWasMadeOf() throws {
        var message = KafkaMessage(topic: "orders", partition: 3, key: "42", value: "apples", headers: ["a": "b"])
        message.timestamp = KafkaTimestamp(millisecondsSince1970: 1_000)
        let delivery = RecordedDelivery(of: message, offset: 7, generation: 2, attempt: 5).delivery
        #expect(delivery.message == message)
        #expect("\(delivery)" == "orders [3] at 7")
        #expect((delivery.generation, delivery.attempt) == (2, 5))
        #expect(delivery.timestampType == .created)
        #expect(delivery.withKey { $0?.byteCount } == 2)
        #expect(delivery.withValue { $0?.byteCount } == 6)
        #expect(delivery.crashes == nil)
        let tombstone = RecordedDelivery(of: KafkaMessage(topic: "orders", value: nil)).delivery
        #expect(tombstone.value == nil)
        #expect(tombstone.withValue { $0 == nil })
        #expect(tombstone.withKey { $0 == nil })
        #expect(tombstone.timestampType == nil)
    }

    @Test func theFirstVerdictIsRecorded() {
        let made = RecordedDelivery(of: KafkaMessage(topic: "orders", value: "apples"))
        #expect(made.verdict == nil)
        made.delivery.acknowledge()
        made.delivery.negativelyAcknowledge(Failure(), after: .seconds(1))
        #expect(made.verdict == .acknowledged)
        #expect(made.error == nil)
        let other = RecordedDelivery(of: KafkaMessage(topic: "orders", value: "apples"))
        other.delivery.negativelyAcknowledge(Failure(), after: .seconds(1))
        #expect(other.verdict == .negativelyAcknowledged(after: .seconds(1)))
        #expect(other.error as? Failure == Failure())
    }
}
