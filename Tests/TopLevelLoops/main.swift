// What a script does: loops outside of any function, left with `break`. Swift never destroys the iterators of those.
//
// Prints for each loop a line with what it received first, and ends when the last one has received something.
//
// Arguments: bootstrap servers, group, topic, and librdkafka's properties as `name=value`.

import Foundation
import KafkaDelivery
import Logging

func say(_ loop: String, _ delivery: KafkaConsumer.Delivery) {
    FileHandle.standardOutput.write(Data("\(loop) \(delivery.offset)\n".utf8))
    delivery.acknowledge()
}

func settings(_ arguments: ArraySlice<String>) -> KafkaConsumer.Configuration {
    let words = Array(arguments)
    var configuration = KafkaConsumer.Configuration(
        bootstrapServers: words[0].split(separator: ",").map(String.init),
        group: words[1],
        topics: [words[2]]
    )
    for property in words.dropFirst(3) {
        let parts = property.split(separator: "=", maxSplits: 1).map(String.init)
        let time = Double(parts.last ?? "").map { Duration.milliseconds($0) }
        switch parts.first {
        case "session": configuration.sessionTimeout = time
        case "heartbeat": configuration.heartbeatInterval = time
        default: break
        }
    }
    return configuration
}

let consumer = try KafkaConsumer(
    settings(CommandLine.arguments.dropFirst()),
    logger: Logger(label: "script", factory: { _ in SwiftLogNoOpLogHandler() })
)
for try await delivery in consumer.deliveries {
    say("deliveries", delivery)
    break
}
for try await delivery in consumer.deliveries {
    say("deliveries", delivery)
    break
}
for try await partition in consumer.partitions {
    for try await delivery in partition {
        say("partition", delivery)
        break
    }
    break
}
for try await partition in consumer.partitions {
    for try await delivery in partition {
        say("partition", delivery)
        break
    }
    break
}

func firstPartition(of consumer: KafkaConsumer) async throws -> KafkaConsumer.Partition? {
    var partitions = consumer.partitions.makeAsyncIterator()
    return try await partitions.next()
}

guard let kept = try await firstPartition(of: consumer) else { exit(1) }
for try await delivery in kept {
    say("kept", delivery)
    break
}
for try await delivery in kept {
    say("kept", delivery)
    break
}
// The partition that is kept belongs to nobody who reads it.
for try await delivery in consumer.deliveries {
    say("deliveries", delivery)
    break
}
await consumer.close()
