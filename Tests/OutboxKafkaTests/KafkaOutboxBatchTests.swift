import KafkaDelivery
import KafkaDeliveryTesting
import OutboxDelivery
import Testing

@testable import OutboxKafka

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

@Suite(.timeLimit(.minutes(5))) struct KafkaOutboxBatchTests {
    private func events(_ rows: [(key: String?, topic: String, partition: String?)]) -> [OutboxEvent] {
        rows.enumerated().map { index, row in
            var message = OutboxMessage(topic: row.topic, key: row.key, payload: "\(index)")
            message.attributes["partition"] = row.partition
            return OutboxEvent(
                id: .init(slot: 0, number: Int64(index)),
                createdAt: Date(timeIntervalSince1970: 0),
                message: message
            )
        }
    }

    @Test func whatGoesToOnePlaceIsOnItsWayTogetherAndAnotherPlaceOfItsKeyWaits() {
        let one = events([("a", "t", nil), ("b", "u", nil), ("a", "t", nil), (nil, "u", "3"), ("b", "u", nil)])
        #expect(KafkaOutboxBatch.waves(one) == [[0, 1, 2, 3, 4]])
        let several = events([
            ("a", "t", nil), ("a", "u", nil), ("b", "u", nil), ("a", "u", nil), ("a", "u", "1"), ("a", "t", nil),
            (nil, "t", nil),
        ])
        #expect(KafkaOutboxBatch.waves(several) == [[0, 2, 6], [1, 3], [4], [5]])
        #expect(KafkaOutboxBatch.waves([]).isEmpty)
    }

    // The producer keeps the order within a partition; here the second one would be stored before the first.
    @Test func anEventBehindOneForAnotherTopicThatIsNotStoredIsNotSent() async throws {
        let cluster = try MockCluster()
        try cluster.createTopic("orders", partitions: 1)
        try cluster.createTopic("bills", partitions: 1)
        let destination = try KafkaOutboxDestination(.init(bootstrapServers: cluster.bootstrapServers))
        let batch = events([("a", "orders", "9"), ("a", "bills", nil), ("b", "bills", nil), ("a", "bills", nil)])
        let outcomes = await destination.publish(batch)
        #expect(outcomes.map(\.isAccepted) == [false, false, true, false])
        guard case .unroutable = outcomes[0], case .unavailable = outcomes[1], case .unavailable = outcomes[3] else {
            Issue.record("\(outcomes)")
            return
        }
        let records = try await TopicReader.all("bills", partitions: 1, servers: cluster.bootstrapServers)
        #expect(records.map(\.value) == ["2"])
        await destination.close()
        await cluster.shutdown()
    }
}
