import ArgumentParser
import Foundation
import KafkaDeliveryTesting

/// The mock brokers, in a process of their own: what they cost is not the clients' cost.
struct ClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "cluster", shouldDisplay: false)

    @MainActor func run() async throws {
        let cluster = try MockCluster(brokers: 1)
        print(cluster.bootstrapServers.joined(separator: ","))
        fflush(nil)
        // "topic partitions" a line, until whoever asks is gone.
        while let line = readLine() {
            let words = line.split(separator: " ")
            guard words.count == 2, let partitions = Int(words[1]) else { continue }
            try cluster.createTopic(String(words[0]), partitions: partitions)
            print("made")
            fflush(nil)
        }
    }
}
