import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import OutboxDelivery
import OutboxKafka
import Testing

@Suite(.timeLimit(.minutes(5)))
struct KafkaDestinationTests {
    private func events(_ messages: [OutboxMessage]) -> [OutboxEvent] {
        messages.enumerated().map { index, message in
            OutboxEvent(
                id: .init(slot: index % 32, number: Int64(index + 1)),
                createdAt: Date(timeIntervalSince1970: 1_700_000_000.123),
                message: message
            )
        }
    }

    @Test func aRowBecomesARecordWithItsKeyHeadersAndIdempotencyKey() async throws {
        let cluster = try MockCluster()
        try cluster.createTopic("orders", partitions: 4)
        let destination = try KafkaOutboxDestination(.init(bootstrapServers: cluster.bootstrapServers))
        var message = OutboxMessage(
            topic: "orders",
            key: "42",
            payload: "three apples",
            headers: [OutboxHeader("a", "1"), OutboxHeader("a", nil)]
        )
        message.attributes = ["partition": "2", "timestamp": "1600000000000"]
        let outcomes = await destination.publish(events([message]))
        guard case .accepted(let receipt) = outcomes.first else {
            Issue.record("\(outcomes)")
            return
        }
        #expect(receipt == OutboxReceipt(place: "orders", partition: 2, position: 0))
        let record = try #require(
            try await TopicReader.all("orders", partitions: 4, servers: cluster.bootstrapServers).first
        )
        #expect(record.key == "42" && record.value == "three apples" && record.partition == 2)
        #expect(record.headers.all("a") == [KafkaBytes("1"), nil])
        #expect(record.idempotencyKey == message.idempotencyKey)
        #expect(record.headers["outbox-event-id"] == "0/1")
        #expect(record.headers["outbox-created-at"] == "1700000000123")
        await destination.close()
        await cluster.shutdown()
    }

    // It knows nothing of the producer, as one that has just become the partition's leader, and would take any number as the first.
    @Test func whatComesBehindTheFirstRequestIsNotStoredWhereABrokerRefusesThat() async throws {
        let cluster = try MockCluster(checksSequences: true)
        try cluster.createTopic("orders", partitions: 1)
        try cluster.inject([.notEnoughReplicas], into: .produce, broker: 1, delay: .seconds(1))
        var configuration = KafkaProducer.Configuration(bootstrapServers: cluster.bootstrapServers)
        // A request for each record.
        configuration.maximumBatchBytes = 1
        let destination = try KafkaOutboxDestination(configuration, logger: ExactlyOnceFixture.logger)
        let batch = events((0..<5).map { OutboxMessage(topic: "orders", key: "a", payload: "\($0)") })
        #expect(await destination.publish(batch).allSatisfy(\.isAccepted))
        let records = try await TopicReader.all("orders", partitions: 1, servers: cluster.bootstrapServers)
        #expect(records.map(\.value) == ["0", "1", "2", "3", "4"])
        await destination.close()
        await cluster.shutdown()
    }

    @Test func aBatchThatIsGivenUpWhenAllOfItWasRefusedEndsNoOther() async throws {
        let cluster = try MockCluster()
        try cluster.createTopic("orders", partitions: 1)
        let destination = try KafkaOutboxDestination(
            .init(bootstrapServers: cluster.bootstrapServers),
            logger: ExactlyOnceFixture.logger
        )
        let batch = events(["orders", "orders", "no topic!"].map { OutboxMessage(topic: $0, key: nil, payload: "") })
        #expect(await destination.publish([batch[0]]).allSatisfy(\.isAccepted))
        try cluster.setRoundTripTime(.seconds(3))
        async let other = destination.publish([batch[1]])
        let refused = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await destination.publish([batch[2]])
        }
        #expect(await refused.value.contains { if case .rejected = $0 { true } else { false } })
        #expect(await other.allSatisfy(\.isAccepted))
        await destination.close()
        await cluster.shutdown()
    }

    @Test func aBatchThatIsGivenUpIsUnknownAtOnceAndSentAgainInOrderByAnotherProducer() async throws {
        let cluster = try MockCluster(brokers: 3)
        try cluster.createTopic("orders", partitions: 1, replicationFactor: 3)
        let destination = try KafkaOutboxDestination(
            .init(bootstrapServers: cluster.bootstrapServers),
            logger: ExactlyOnceFixture.logger
        )
        let batch = events((0..<3).map { OutboxMessage(topic: "orders", key: "a", payload: "\($0)") })
        #expect(await destination.publish([batch[0]]).allSatisfy(\.isAccepted))
        try cluster.takeDown()
        let task = Task { await destination.publish([batch[1], batch[2]]) }
        task.cancel()
        // Without waiting for the message time-out, which is an hour.
        #expect(await task.value.contains(where: \.isAccepted) == false)
        try cluster.bringUp()
        #expect(await destination.publish([batch[1], batch[2]]).allSatisfy(\.isAccepted))
        let records = try await TopicReader.all("orders", partitions: 1, servers: cluster.bootstrapServers)
        var seen: [String] = []
        for record in records where !seen.contains(record.value) { seen.append(record.value) }
        #expect(seen == ["0", "1", "2"])
        await destination.close()
        await cluster.shutdown()
    }

    @Test func whatTheProducerRefusesStopsItsKeyAndNoOther() async throws {
        let cluster = try MockCluster()
        try cluster.createTopic("orders", partitions: 1)
        let destination = try KafkaOutboxDestination(.init(bootstrapServers: cluster.bootstrapServers))
        let outcomes = await destination.publish(
            events([
                OutboxMessage(topic: "orders", key: "a", payload: "1"),
                OutboxMessage(topic: "orders", key: "a", payload: [UInt8](repeating: 0, count: 2_000_000)),
                OutboxMessage(topic: "orders", key: "a", payload: "3"),
                OutboxMessage(topic: "orders", key: "b", payload: "4"),
                OutboxMessage(topic: "orders", key: "c", payload: "5", attributes: ["partition": "none"]),
            ])
        )
        #expect(outcomes.map(\.isAccepted) == [true, false, false, true, false])
        guard case .rejected(_, isRetriable: false, _) = outcomes[1], case .unavailable = outcomes[2],
            case .rejected(_, isRetriable: false, _) = outcomes[4]
        else {
            Issue.record("\(outcomes)")
            return
        }
        let records = try await TopicReader.all("orders", partitions: 1, servers: cluster.bootstrapServers)
        #expect(records.map(\.value) == ["1", "4"])
        await destination.close()
        await cluster.shutdown()
    }

    // An ordinary producer goes on behind a batch that was refused: "a2" would be stored before "a1".
    @Test func whatBrokersRefuseLeavesNoGapBehindWhichItsKeyGoesOn() async throws {
        let cluster = try MockCluster(checksSequences: true)
        try cluster.createTopic("orders", partitions: 1)
        var configuration = KafkaProducer.Configuration(bootstrapServers: cluster.bootstrapServers)
        // One record a request, and several requests under way.
        configuration.additionalProperties["batch.num.messages"] = "1"
        let destination = try KafkaOutboxDestination(configuration)
        let first = await destination.publish(events([OutboxMessage(topic: "orders", key: "z", payload: "0")]))
        #expect(first.first?.isAccepted == true)
        try cluster.inject([.invalidRecord], into: .produce)
        let batch = events((1...5).map { OutboxMessage(topic: "orders", key: "a", payload: "a\($0)") })
        let outcomes = await destination.publish(batch)
        #expect(outcomes.first?.isAccepted == false)
        #expect(outcomes.filter(\.isAccepted).isEmpty)
        // The producer was made anew, and goes on.
        let again = await destination.publish(batch)
        #expect(again.filter(\.isAccepted).count == 5)
        let records = try await TopicReader.all("orders", partitions: 1, servers: cluster.bootstrapServers)
        #expect(records.map(\.value) == ["0", "a1", "a2", "a3", "a4", "a5"])
        await destination.close()
        await cluster.shutdown()
    }

    @Test func aClosedDestinationSaysThatNothingWasSent() async throws {
        let cluster = try MockCluster()
        let destination = try KafkaOutboxDestination(.init(bootstrapServers: cluster.bootstrapServers))
        await destination.close()
        let outcomes = await destination.publish(events([OutboxMessage(topic: "orders", key: "a", payload: "1")]))
        guard case .unavailable = outcomes.first else {
            Issue.record("\(outcomes)")
            return
        }
        await cluster.shutdown()
    }
}
