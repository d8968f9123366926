import Foundation
import KafkaDelivery
import Testing

struct KafkaMessageTests {
    private struct Order: Codable, Equatable {
        var id: Int
        var item: String
    }

    @Test func textBytesAndDataBecomeTheSameValue() {
        let bytes: [UInt8] = [0x68, 0x69]
        let values: [KafkaMessage] = [
            KafkaMessage(topic: "t", value: "hi"),
            KafkaMessage(topic: "t", value: bytes),
            KafkaMessage(topic: "t", value: bytes[...]),
            KafkaMessage(topic: "t", value: Data(bytes)),
            KafkaMessage(topic: "t", value: ContiguousArray(bytes)),
            KafkaMessage(topic: "t", value: "high".prefix(2)),
        ]
        #expect(Set(values).count == 1)
    }

    @Test func anEncodableValueBecomesJSONAndComesBack() throws {
        let order = Order(id: 7, item: "apples")
        let message = try KafkaMessage(topic: "orders", key: "7", value: order)
        let value = try #require(message.value)
        #expect(try value.decoded(as: Order.self) == order)
    }

    @Test func noValueIsATombstoneAndNotJSONNull() throws {
        let order: Order? = nil
        #expect(try KafkaMessage(topic: "orders", key: "7", value: order).value == nil)
        #expect(KafkaMessage(topic: "orders", key: "7", value: nil).value == nil)
        #expect(KafkaMessage(topic: "orders", key: "", value: "").value?.isEmpty == true)
        #expect(KafkaMessage(topic: "orders", key: "", value: "").key?.isEmpty == true)
    }

    @Test func headersKeepTheirOrderAndMayRepeat() {
        var headers: KafkaHeaders = ["a": "1", "b": nil, "a": "2"]
        headers.append(KafkaHeader("c", [0xFF, 0x00]))
        #expect(headers.map(\.name) == ["a", "b", "a", "c"])
        #expect(headers["a"] == "2")
        #expect(headers.all("a") == ["1", "2"])
        #expect(headers["b"] == nil)
        #expect(headers.all("b") == [nil])
        #expect(headers["d"] == nil)
    }

    @Test func bytesAreShownAsTextWhereTheyAreText() {
        #expect(KafkaBytes("žluťoučký").description == "žluťoučký")
        #expect(KafkaBytes([0xFF, 0xAD]).description == "0xffad")
        #expect(KafkaBytes([0xFF, 0xAD]).string == nil)
        #expect(KafkaBytes([UInt8](repeating: 0xFF, count: 100)).description.hasSuffix("… (100 bytes)"))
    }

    @Test func datesBecomeMillisecondsAndBack() {
        let date = Date(timeIntervalSince1970: 1_700_000_000.123)
        let timestamp = KafkaTimestamp(date)
        #expect(timestamp.millisecondsSince1970 == 1_700_000_000_123)
        #expect(KafkaTimestamp(.distantFuture) > timestamp)
        #expect(KafkaTimestamp(Date(timeIntervalSince1970: .infinity)).millisecondsSince1970 == .max)
        #expect(KafkaTimestamp(Date(timeIntervalSince1970: .nan)).millisecondsSince1970 == .max)
    }
}
