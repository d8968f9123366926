import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// What a new producer's first message waits for.
@Suite(.timeLimit(.minutes(1)))
struct FirstMessageTests {
    /// librdkafka looks for a producer id every 500 ms where nothing makes it look earlier. The best of several producers,
    /// for a machine that is busy makes any of them late.
    @Test func anIdempotentProducersFirstMessageDoesNotWaitForATimer() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var best = Duration.seconds(60)
        for _ in 0..<5 {
            let start = ContinuousClock.now
            try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                try await producer.send(KafkaMessage(topic: topic, value: "x"))
                best = min(best, start.duration(to: .now))
            }
        }
        #expect(best < .milliseconds(400))
    }
}
