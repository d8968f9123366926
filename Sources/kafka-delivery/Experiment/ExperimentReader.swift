import KafkaDelivery
import Logging

/// Reads back what a topic holds, past the relay: with a consumer of its own, in no group, from the beginning to the end.
struct ExperimentReader {
    let servers: [String]
    let properties: @Sendable (inout KafkaConsumer.Configuration) throws -> Void
    let logger: Logger

    /// The numbers in a topic's partition 0, in the order of the log; what an open or aborted transaction wrote is left out.
    func numbers(in topic: String) async throws -> [Int] {
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        var configuration = KafkaConsumer.Configuration(bootstrapServers: servers, partitions: [partition])
        configuration.start = .beginning
        configuration.autoOffsetReset = .failure
        try properties(&configuration)
        return try await withKafkaConsumer(configuration, logger: logger) { consumer in
            let events = consumer.events
            let reading = Task {
                var numbers: [Int] = []
                for try await delivery in consumer.deliveries {
                    numbers.append(delivery.value?.string.flatMap { Int($0) } ?? -1)
                    delivery.acknowledge()
                }
                return numbers
            }
            // It is said when everything was handed out.
            let ending = Task {
                for await event in events {
                    if case .caughtUp = event { break }
                }
                reading.cancel()
            }
            defer { ending.cancel() }
            return try await withTaskCancellationHandler {
                try await reading.value
            } onCancel: {
                reading.cancel()
            }
        }
    }
}
