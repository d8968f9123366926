import Foundation
import KafkaDelivery
import Testing

@Suite(.timeLimit(.minutes(5)))
struct MessageRoundTripTests {
    private static let large = [UInt8]((0..<900_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })

    private static func messages(_ topic: String) -> [KafkaMessage] {
        let timestamp = KafkaTimestamp.earlier
        return [
            KafkaMessage(topic: topic, value: nil, timestamp: timestamp),
            KafkaMessage(topic: topic, value: "", timestamp: timestamp),
            KafkaMessage(topic: topic, key: "", value: nil, timestamp: timestamp),
            KafkaMessage(topic: topic, key: "", value: "", timestamp: timestamp),
            KafkaMessage(topic: topic, key: "ключ 🔑 é", value: "значение 🌍", timestamp: timestamp),
            KafkaMessage(topic: topic, key: [0, 0xFF, 0, 0x80] as [UInt8], value: large, timestamp: timestamp),
            KafkaMessage(
                topic: topic,
                key: "headers",
                value: "x",
                headers: [
                    KafkaHeader("trace", "1"), KafkaHeader("trace", "2"), KafkaHeader("null", nil),
                    KafkaHeader("empty", ""), KafkaHeader("binary", [0xFF, 1, 0xFE] as [UInt8]),
                    KafkaHeader("имя", "Ω"), KafkaHeader("trace", "3"), KafkaHeader("zero", [0, 1, 0] as [UInt8]),
                ],
                timestamp: timestamp
            ),
        ]
    }

    @Test func everyMessageComesBackAsItWasSent() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let messages = Self.messages(topic)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for message in messages { _ = try await producer.send(message) }
        }
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let deliveries = try await consumer.take(messages.count)
            for (delivery, sent) in zip(deliveries, messages) {
                var expected = sent
                expected.partition = 0
                #expect(delivery.message == expected)
                #expect(delivery.timestampType == .created)
                #expect(delivery.withValue { $0?.byteCount } == sent.value?.count)
                #expect(delivery.withKey { $0?.byteCount } == sent.key?.count)
            }
            let headers = deliveries[6].headers
            #expect(headers.all("trace").map { $0?.string } == ["1", "2", "3"])
            #expect(headers["trace"]?.string == "3")
            #expect(headers["null"] == nil)
            #expect(headers["empty"]?.isEmpty == true)
            #expect(headers["binary"]?.array == [0xFF, 1, 0xFE])
            #expect(headers["zero"]?.array == [0, 1, 0])
        }
    }

    @Test func kcatReadsWhatWasSent() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let messages = Self.messages(topic)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for message in messages { _ = try await producer.send(message) }
        }
        // %K and %S are -1 for null.
        let shapes = try await Kcat(cluster).read(topic, partition: 0, count: 7, format: "%K %S %T\n")
        let sizes = [
            "-1 -1", "-1 0", "0 -1", "0 0", "\("ключ 🔑 é".utf8.count) \("значение 🌍".utf8.count)", "4 900000", "7 1",
        ]
        let lines = sizes.map { "\($0) \(KafkaTimestamp.earlier.millisecondsSince1970)\n" }
        #expect(String(decoding: shapes, as: UTF8.self) == lines.joined())
        let text = try await Kcat(cluster).read(topic, partition: 0, from: 4, count: 1, format: "%k=%s")
        #expect(String(decoding: text, as: UTF8.self) == "ключ 🔑 é=значение 🌍")
        let value = try await Kcat(cluster).read(topic, partition: 0, from: 5, count: 1, format: "%s")
        // Not ==, for which the difference would be worked out: it takes minutes for so many bytes.
        #expect(value.elementsEqual(Self.large))
        let headers = try await Kcat(cluster).read(topic, partition: 0, from: 6, count: 1, format: "%h")
        // kcat shows a header up to its first zero byte.
        let binary: [UInt8] = [0xFF, 1, 0xFE]
        let expected =
            Data("trace=1,trace=2,null=NULL,empty=,binary=".utf8) + binary + Data(",имя=Ω,trace=3,zero=".utf8)
        #expect(headers == expected)
    }

    @Test func whatKcatWroteIsReceived() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let kcat = Kcat(cluster)
        try await kcat.write(
            topic,
            ["-p", "0", "-K", ":", "-H", "trace=1", "-H", "trace=2", "-H", "empty="],
            input: Data("ключ:значение 🌍\n".utf8)
        )
        // -Z makes an empty value, or key, null.
        try await kcat.write(topic, ["-p", "0", "-K", ":", "-Z"], input: Data("tombstone:\n".utf8))
        try await kcat.write(topic, ["-p", "0", "-K", ":"], input: Data("empty:\n".utf8))
        let file = FileManager.default.temporaryDirectory.appendingPathComponent(topic)
        try Data(Self.large).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        try await kcat.write(topic, ["-p", "0", file.path], input: Data())
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let deliveries = try await consumer.take(4)
            #expect(deliveries[0].key == "ключ")
            #expect(deliveries[0].value == "значение 🌍")
            let headers: KafkaHeaders = ["trace": "1", "trace": "2", "empty": ""]
            #expect(deliveries[0].headers == headers)
            #expect(deliveries[0].timestampType == .created)
            #expect(deliveries[1].key == "tombstone")
            #expect(deliveries[1].value == nil)
            #expect(deliveries[2].key == "empty")
            #expect(deliveries[2].value?.isEmpty == true)
            #expect(deliveries[2].headers.isEmpty)
            #expect(deliveries[3].key == nil)
            #expect(deliveries[3].value?.array == Self.large)
        }
    }

    /// A delivery outlives its consumer: its bytes are librdkafka's until nobody holds it.
    @Test func aDeliveryKeepsItsBytesAfterTheConsumerIsClosed() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let messages = Self.messages(topic)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for message in messages { _ = try await producer.send(message) }
        }
        var deliveries: [KafkaConsumer.Delivery] = []
        do {
            let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
            deliveries = try await consumer.take(messages.count)
            await consumer.close(within: .milliseconds(100))
        }
        #expect(deliveries.map(\.value) == messages.map(\.value))
        #expect(deliveries.map(\.headers) == messages.map(\.headers))
    }
}
