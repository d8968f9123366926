import ArgumentParser
import RabbitDelivery
import ToolSupport

/// `rabbit-delivery`: the two confirmations of RabbitMQ, from a shell.
@main
struct RabbitDeliveryTool: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "rabbit-delivery",
        abstract: "Publishes messages to RabbitMQ and sees them confirmed; receives messages and acknowledges them.",
        discussion: """
            The broker is named by --url, or by the environment's RABBITMQ_URL, as an AMQP URI; without either it is \
            amqp://localhost. A password is better kept in the environment: others see command lines.

              export RABBITMQ_URL=amqp://user:password@rabbit.example/shop
              rabbit-delivery topology topology.json
              echo 'hello' | rabbit-delivery send --queue greetings
              rabbit-delivery receive greetings
              rabbit-delivery redrive greetings-dead --dry-run

            Exit status: 0 when everything was done; 1 when something was not, with the reason on standard error; \
            64 when the command line is wrong; 130 or 143 when SIGINT or SIGTERM ended it before it was done.
            """,
        version: "rabbit-delivery 0.1.0-dev",
        subcommands: [SendCommand.self, ReceiveCommand.self, RedriveCommand.self, TopologyCommand.self]
    )

    static func main() async { await runTool() }
}
