import Foundation
import KafkaDelivery
import Testing

/// Handlers of values: what is decoded, how, and what becomes of messages that have no value or another one.
@Suite(.timeLimit(.minutes(5)))
struct TypedHandlerTests {
    @Test func aValueThatDoesNotDecodeGoesStraightToTheDeadLetters() async throws {
        struct Order: Codable { var id: Int }
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let letters = try await cluster.makeTopic(name: "letters")
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "{not json"))
        try await producer.send(KafkaMessage(topic: topic, value: Order(id: 5)))
        try await withKafkaConsumer(cluster.consumerConfiguration(topics: [topic]), logger: .test) { consumer in
            try await consumer.forEach(
                as: Order.self,
                retry: .fixed(.seconds(3_600), maximumAttempts: nil),
                deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
            ) { order, _ in
                #expect(order.id == 5)
                Task { await consumer.close() }
            }
        }
        let stored = try await Kcat(cluster).read(letters, partition: 0, count: 1, format: "%s")
        #expect(String(decoding: stored, as: UTF8.self) == "{not json")
        await producer.close()
    }

    @Test func aHandlerOfOptionalValuesGetsTombstonesAsNil() async throws {
        struct Order: Codable { var id: Int }
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let letters = try await cluster.makeTopic(name: "letters")
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        for value in ["{\"id\": 5}", nil, "null", "{\"id\": 6}"] as [String?] {
            try await producer.send(KafkaMessage(topic: topic, value: value.map { KafkaBytes($0) }))
        }
        let configuration = cluster.consumerConfiguration(topics: [topic])
        let orders = Shared<[Int?]>([])
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await consumer.forEach(as: Order?.self) { order, _ in
                let count = orders.change { orders in
                    orders.append(order?.id)
                    return orders.count
                }
                if count == 4 { await consumer.close() }
            }
        }
        #expect(orders.value == [5, nil, nil, 6])

        // A handler that takes no optional one says what is the matter, and what to do.
        try await withKafkaConsumer(cluster.consumerConfiguration(topics: [topic]), logger: .test) { consumer in
            let seen = Shared<[Int]>([])
            try await consumer.forEach(
                as: Order.self,
                deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
            ) { order, _ in
                seen.change { $0.append(order.id) }
                if order.id == 6 { await consumer.close() }
            }
            #expect(seen.value == [5, 6])
        }
        try await withKafkaConsumer(cluster.consumerConfiguration(topics: [letters]), logger: .test) { consumer in
            let tombstone = try #require(try await consumer.take(1).first)
            #expect(tombstone.value == nil)
            let reason = tombstone.headers.first { $0.name == "kafka_dlt-exception-message" }?.value?.string ?? ""
            #expect(reason.contains("tombstone") && reason.contains("Order?"), "\(reason)")
        }
        await producer.close()
    }

    @Test(arguments: [false, true])
    func aHandlerOfValuesDecodesAsItIsTold(isOfAnotherFormat: Bool) async throws {
        struct Order: Codable { var placed: Date }
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let date = Date(timeIntervalSince1970: 1_700_000_000)
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: Order(placed: date), encoder: encoder))
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        let dates = Shared<[Date]>([])
        try await withKafkaConsumer(cluster.consumerConfiguration(topics: [topic]), logger: .test) { consumer in
            if isOfAnotherFormat {
                try await consumer.forEach(as: Int.self, decodedBy: { $0.count }) { count, delivery in
                    #expect(count == delivery.value?.count)
                    let order = try delivery.decoded(as: Order.self, decoder: decoder)
                    dates.change { $0.append(order.placed) }
                    await consumer.close()
                }
            } else {
                try await consumer.forEach(as: Order.self, decoder: decoder) { order, _ in
                    dates.change { $0.append(order.placed) }
                    await consumer.close()
                }
            }
        }
        #expect(dates.value == [date])
        await producer.close()
    }
}
