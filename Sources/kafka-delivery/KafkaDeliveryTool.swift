import ArgumentParser
import KafkaDelivery
import KafkaDeliveryTesting

/// `kafka-delivery`: the two confirmations, from a shell.
@main
struct KafkaDeliveryTool: AsyncParsableCommand {
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
            SendCommand.self, ReceiveCommand.self, RedriveCommand.self, BrokerCommand.self, DemoCommand.self,
            ExperimentCommand.self, ExperimentWorker.self,
        ]
    )

    /// What CHANGELOG.md says.
    static let version = "0.1.0-dev"

    static func main() async {
        fillStandardDescriptors()
        // A reader that goes away is an error of the write, which the commands answer in their own ways.
        ignoreBrokenPipes()
        do {
            var command = try await asyncParseAsRoot(nil)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
            try StandardOutput.check()
            endProcess(status: 0)
        } catch {
            exit(reporting: error)
        }
    }

    /// Says what went wrong, and ends with the status that goes with it.
    private static func exit(reporting error: any Error) -> Never {
        switch error {
        case let failure as ToolFailure:
            StandardError.say(failure.sentence)
            endProcess(status: failure.status)
        case let error as KafkaError:
            StandardError.say(ToolFailure(error).sentence)
            endProcess(status: 1)
        case let failure as MockCluster.Failure:
            StandardError.say(failure.description)
            endProcess(status: 1)
        default:
            exitAsArgumentParser(error)
        }
    }

    /// Help is an "error" too, and goes to standard output; complaints about the command line go to standard error.
    private static func exitAsArgumentParser(_ error: any Error) -> Never {
        let code = exitCode(for: error)
        let text = fullMessage(for: error)
        if code.isSuccess {
            StandardOutput.print(text)
            do { try StandardOutput.check() } catch { exit(reporting: error) }
        } else if !text.isEmpty {
            let text = text.hasPrefix("Error: ") ? "kafka-delivery: \(text.dropFirst(7))" : text
            StandardError.write(withHintAtDashes(text) + "\n")
        }
        endProcess(status: code.rawValue)
    }

    /// A value that begins with a dash is taken for the next option, and then "missing", by options that name something.
    static func withHintAtDashes(_ complaint: String) -> String {
        guard let start = complaint.firstRange(of: "Missing value for '--")?.upperBound else { return complaint }
        let name = complaint[start...].prefix { $0 != " " && $0 != "'" }
        let head = complaint.prefix { $0 != "\n" }
        let hint = " (one that begins with a dash is given with an equals sign: --\(name)=-5)"
        return head + hint + complaint.dropFirst(head.count)
    }
}
