import ArgumentParser
import KafkaDelivery
import ToolSupport

/// `kafka-delivery`: the two confirmations, from a shell.
@main
struct KafkaDeliveryTool: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "kafka-delivery",
        abstract: "Sends messages to Kafka and sees them confirmed; receives messages and acknowledges them.",
        discussion: """
            Try it without a Kafka of your own:

              kafka-delivery demo

            or in three terminals:

              kafka-delivery broker                                  # prints an address
              export KAFKA_BOOTSTRAP_SERVERS=…                       # that address
              echo 'hello' | kafka-delivery send greetings
              kafka-delivery receive greetings --group me

            Exit status: 0 when everything was done; 1 when something was not, with the reason on standard error; \
            64 when the command line is wrong; 130 or 143 when SIGINT or SIGTERM ended it before it was done.
            """,
        version: "kafka-delivery \(version) (librdkafka \(LibrdkafkaVersion.current))",
        subcommands: [
            SendCommand.self, ReceiveCommand.self, RedriveCommand.self, OutboxCommand.self, BrokerCommand.self,
            DemoCommand.self, ExperimentCommand.self, ExperimentWorker.self,
        ]
    )

    /// What CHANGELOG.md says.
    static let version = "0.1.0-dev"

    /// A client that could not be closed in time may still be in a TLS handshake on a thread of librdkafka's.
    static var runsExitHandlers: Bool { LiveClients.isEmpty }

    static func main() async { await runTool() }
}
