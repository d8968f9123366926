import ArgumentParser
import KafkaDeliveryTesting
import ToolSupport

struct BrokerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "broker",
        abstract: "Runs a mock cluster in the foreground, to try things with.",
        discussion: """
            The brokers are part of this process and listen on loopback. They keep messages in memory, at most 5 MiB \
            a partition, and forget everything at the end. A topic that a client asks for is made with 4 partitions.

              kafka-delivery broker --topic orders:6 --topic payments
              kafka-delivery broker --brokers 3 > address &

            A mock group lets a member that joins beside others wait for the session time-out less a second, which is 44 \
            seconds by default: give receivers that share a group -X session.timeout.ms=6000.

            The addresses are the only line on standard output, fit to be the value of KAFKA_BOOTSTRAP_SERVERS. \
            SIGINT or SIGTERM ends it.

            Exit status: 0 when a signal ended it, 1 when it could not start, 64 when the command line is wrong.
            """
    )

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("How many brokers, 1 to \(MockCluster.maximumBrokers).", valueName: "number")
    )
    var brokers: Int = 1

    @Option(
        help: ArgumentHelp(
            "A topic to make, with 1 partition or as many as are named. Can be repeated.",
            valueName: "name[:partitions]"
        )
    )
    var topic: [Topic] = []

    /// The argument of `--topic`.
    struct Topic: ExpressibleByArgument, Equatable {
        let name: String
        let partitions: Int

        init?(argument: String) {
            let parts = argument.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = parts.first, !name.isEmpty else { return nil }
            self.name = String(name)
            guard parts.count == 2 else {
                self.partitions = 1
                return
            }
            guard let partitions = Int(parts[1]) else { return nil }
            self.partitions = partitions
        }
    }

    func validate() throws {
        guard (1...MockCluster.maximumBrokers).contains(brokers) else {
            throw ValidationError("--brokers \(brokers): 1 to \(MockCluster.maximumBrokers) are possible.")
        }
    }

    func run() async throws {
        try await withInterruption { interruption in
            let cluster = try MockCluster(brokers: brokers)
            for topic in topic { try cluster.createTopic(topic.name, partitions: topic.partitions) }
            try await announce(cluster.bootstrapServers.joined(separator: ","))
            await withCheckedContinuation { continuation in
                interruption.onSignal { continuation.resume() }
            }
            await cluster.shutdown()
        }
    }

    private func announce(_ servers: String) async throws {
        let output = Output(1)
        do {
            try await output.write("\(servers)\n".utf8)
            try await output.flush()
        } catch {
            throw ToolFailure("the address could not be written: \(error.text)")
        }
        let name = topic.first?.name ?? "greetings"
        StandardError.write(
            """
            A mock cluster of \(count(brokers, "broker")) runs until Ctrl-C. In another terminal:

              export KAFKA_BOOTSTRAP_SERVERS=\(servers)
              echo 'hello' | \(Platform.program) send \(name)
              \(Platform.program) receive \(name) --group me

            """
        )
    }
}
