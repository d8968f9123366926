import Foundation
import KafkaDelivery
import Logging

/// `transform SERVERS NAME GROUP INPUT OUTPUT`: copies a topic in transactions until its input ends, as the static member
/// NAME of its group and with NAME as its transactional id. Writes a dot for each message that it has in hand.
func runTransformMember(_ arguments: [String]) async throws {
    let servers = arguments[0].split(separator: ",").map(String.init)
    let (name, group, input, output) = (arguments[1], arguments[2], arguments[3], arguments[4])
    let logger = Logger(label: name, factory: { StreamLogHandler.standardError(label: $0) })
    var configuration = KafkaConsumer.Configuration(bootstrapServers: servers, group: group, topics: [input])
    // One that comes back has its partitions at once, and nobody waits for the session of the one that was killed.
    configuration.groupInstanceID = name
    configuration.maximumFetchWait = .milliseconds(10)
    configuration.additionalProperties = ["session.timeout.ms": "6000", "heartbeat.interval.ms": "100"]
    let consumer = try KafkaConsumer(configuration, logger: logger)
    let producer = try KafkaTransactionalProducer(
        .init(transactionalID: name, bootstrapServers: servers),
        logger: logger
    )
    let running = Task {
        try await consumer.transform(through: producer, maximumCount: 10, maximumWait: .milliseconds(5)) { delivery in
            try? FileHandle.standardOutput.write(contentsOf: Data(".".utf8))
            return [KafkaMessage(topic: output, partition: delivery.partition, value: delivery.value)]
        }
    }
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        Thread.detachNewThread {
            _ = FileHandle.standardInput.readDataToEndOfFile()
            continuation.resume()
        }
    }
    await consumer.close(within: .seconds(10))
    try await running.value
    await producer.close(within: .seconds(10))
}
