import Foundation
import KafkaDelivery
import Logging

/// A service with a message that kills it, for the tests of what a process that dies leaves behind.
///
/// Prints the value of each message that it handled, a line each, and aborts on the values it is told to. Ends in good order
/// when its input ends.
///
/// Arguments: bootstrap servers, group, topic, dead-letter topic, maximum crashes, concurrency (`perPartition`, `perKey`,
/// `unordered` or `batch`), fatal values separated by commas, and librdkafka's properties as `name=value`.
@main
struct PoisonedConsumer {
    static func main() async throws {
        // Without Swift's crash report, which takes seconds to say what is known.
        signal(SIGABRT, SIG_DFL)
        let arguments = CommandLine.arguments
        guard arguments.count >= 8, let maximumCrashes = Int(arguments[5]) else {
            fatalError("usage: servers group topic letters crashes concurrency values [name=value…]")
        }
        let servers = arguments[1].split(separator: ",").map(String.init)
        let fatalValues = Set(arguments[7].split(separator: ",").map(String.init))
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: servers,
            group: arguments[2],
            topics: [arguments[3]]
        )
        configuration.maximumCrashes = maximumCrashes
        for property in arguments.dropFirst(8) {
            let parts = property.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { continue }
            switch parts[0] {
            case "group.instance.id": configuration.groupInstanceID = parts[1]
            case "group.protocol": configuration.groupProtocol = .init(rawValue: parts[1]) ?? .classic
            case "session": configuration.sessionTimeout = Double(parts[1]).map { .milliseconds($0) }
            case "heartbeat": configuration.heartbeatInterval = Double(parts[1]).map { .milliseconds($0) }
            default: configuration.additionalProperties[parts[0]] = parts[1]
            }
        }
        let logger = Logger(label: "child", factory: { _ in SwiftLogNoOpLogHandler() })
        let producer = try KafkaProducer(.init(bootstrapServers: servers), logger: logger)
        let letters = arguments[4]
        let deadLetters = KafkaDeadLetters(
            producer: producer,
            topicName: { _ in letters }
        )
        let consumer = try KafkaConsumer(configuration, logger: logger)
        Thread.detachNewThread {
            // Nothing is written to it: it ends when whoever started this lets go of it.
            _ = FileHandle.standardInput.readDataToEndOfFile()
            Task { await consumer.close() }
        }
        try await handle(consumer, deadLetters, arguments[6]) { delivery in
            let value = delivery.value?.string ?? ""
            if fatalValues.contains(value) { abort() }
            FileHandle.standardOutput.write(Data("\(value)\n".utf8))
        }
        // The loop ends when closing begins, and the last commit comes after that.
        await consumer.close()
        await producer.close()
    }

    private static func handle(
        _ consumer: KafkaConsumer,
        _ deadLetters: KafkaDeadLetters,
        _ concurrency: String,
        _ handler: @escaping @Sendable (KafkaConsumer.Delivery) async throws -> Void
    ) async throws {
        switch concurrency {
        case "batch":
            try await consumer.forEachBatch(
                maximumCount: 50,
                maximumWait: .milliseconds(20),
                deadLetters: deadLetters
            ) { batch in
                for delivery in batch { try await handler(delivery) }
            }
        case "perKey": try await consumer.forEach(concurrency: .perKey(maximum: 16), deadLetters: deadLetters, handler)
        case "unordered":
            try await consumer.forEach(concurrency: .unordered(maximum: 16), deadLetters: deadLetters, handler)
        default: try await consumer.forEach(deadLetters: deadLetters, handler)
        }
    }
}
