import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// A handler's error ends the loop where there is nowhere to put its message, whatever the loop's other tasks wait for.
@Suite(.timeLimit(.minutes(5)))
struct FailingLoopTests {
    struct Failure: Error {}

    @Test(arguments: [
        KafkaConsumer.Concurrency.perKey(maximum: 1), .unordered(maximum: 1), .perKey(maximum: 8),
        .unordered(maximum: 8),
    ])
    func whereEveryHandlerThatRunsThrowsTheLoopEnds(concurrency: KafkaConsumer.Concurrency) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let messages = (0..<20).map { KafkaMessage(topic: topic, key: "\($0)", value: "\($0)") }
            for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        }
        let places =
            switch concurrency {
            case .perKey(let maximum), .unordered(let maximum): maximum
            case .perPartition: 1
            }
        // Whether the reading task waits for a place when they throw is a matter of moments.
        for _ in 0..<5 {
            let running = Shared(0)
            try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
                await #expect(throws: Failure.self) {
                    try await consumer.forEach(concurrency: concurrency, retry: .none) { _ in
                        running.change { $0 += 1 }
                        try await running.wait { $0 == places }
                        for _ in 0..<100 { await Task.yield() }
                        throw Failure()
                    }
                }
            }
        }
    }
}
