import KafkaDelivery
import Testing

/// Batches that wait for more while their partition is sought elsewhere.
@Suite(.timeLimit(.minutes(5)))
struct BatchSeekTests {
    @Test(arguments: [1, 3])
    func aBatchHasNothingFromBeforeASeekOfItsPartition(offset: Int64) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 5)
        let batches = Shared<[[Int64]]>([])
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let rest = 5 - Int(offset)
            let handling = Task {
                // With what comes after the seek it is full.
                try await consumer.forEachBatch(maximumCount: 5 + rest, maximumWait: .seconds(60)) { batch in
                    batches.change { $0.append(batch.map(\.offset)) }
                }
            }
            let partition = KafkaTopicPartition(topic: topic, partition: 0)
            try await waitUntil { consumer.position(of: partition) == 5 }
            try await consumer.seek(partition, to: .offset(offset))
            try await batches.wait { !$0.isEmpty }
            #expect(batches.value == [Array(offset..<5)])
            let summary = await consumer.close()
            try await handling.value
            #expect(summary.unsettled == 0)
        }
    }
}
