import ArgumentParser
import RabbitDelivery
import ToolSupport

struct SendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send",
        abstract: "Publishes lines or files as messages, and sees each of them confirmed.",
        discussion: """
            Each line of the files, or of standard input, becomes the body of one message, byte for byte; its \
            end (\\n or \\r\\n) is not part of it. A line counts as sent when the broker has confirmed it; one that no \
            queue is bound for failed.

              rabbit-delivery send --exchange orders --key new.fruit orders.jsonl
              tail -f app.log | rabbit-delivery send --queue logs
              rabbit-delivery send --queue pictures --whole *.png
              rabbit-delivery send --queue orders orders.jsonl --failed failed.jsonl

            On SIGINT or SIGTERM reading stops, and what was read is sent if that is possible within 5 seconds. A second \
            signal ends the process at once.

            Exit status: 0 when every message was confirmed, 1 when any was not, 64 when the command line is \
            wrong, 130 or 143 when a signal ended it before all was read and confirmed.
            """
    )

    @OptionGroup(title: "Broker")
    var options: BrokerOptions

    @OptionGroup
    var input: SendInput

    @Option(name: .shortAndLong, help: "The exchange.")
    var exchange: String?

    @Option(name: .shortAndLong, parsing: .unconditional, help: "The routing key of every message.")
    var key: String = ""

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("The routing key is this field of the line, which is JSON.", valueName: "field")
    )
    var jsonKey: String?

    @Option(name: .shortAndLong, help: "The queue, by way of the default exchange.")
    var queue: String?

    @Option(
        name: [.customShort("H"), .long],
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A header of every message, as text. Can be repeated.", valueName: "name=value")
    )
    var header: [String] = []

    @Option(help: ArgumentHelp("The content type of every message.", valueName: "type"))
    var contentType: String?

    @Flag(help: "Let messages be confirmed that no queue is bound for.")
    var optional = false

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Give a message up that is not confirmed within this time.", valueName: "seconds")
    )
    var timeout: Double = 60

    @Flag(
        help: """
            Write "exchange key number", or "queue number" with --queue, for each message to standard output, in the order of the \
            input; with - as the number for one that is not confirmed.
            """
    )
    var printReports = false

    func validate() throws {
        guard (exchange == nil) != (queue == nil) else {
            throw ValidationError("Say where to: either --exchange (with --key) or --queue.")
        }
        guard queue == nil || (key.isEmpty && jsonKey == nil) else {
            throw ValidationError("--queue is the routing key already.")
        }
        guard key.isEmpty || jsonKey == nil else { throw ValidationError("Give one of --key and --json-key.") }
        guard (0.001...86_400).contains(timeout) else {
            throw ValidationError("--timeout \(timeout): 0.001 to 86400 seconds are possible.")
        }
        _ = try JSONField.key(jsonKey)
        _ = try template()
    }

    private func template() throws -> RabbitMessage {
        var message = RabbitMessage(exchange: exchange ?? "", routingKey: queue ?? key, body: "")
        message.isMandatory = !optional
        message.properties.contentType = contentType
        for header in header {
            guard let equals = header.firstIndex(of: "="), equals != header.startIndex else {
                throw ValidationError("--header \(header): name=value is needed.")
            }
            message.properties.headers[String(header[..<equals])] = .string(
                String(header[header.index(after: equals)...])
            )
        }
        return message
    }

    func run() async throws {
        var configuration = RabbitPublisher.Configuration(try options.broker())
        configuration.confirmTimeout = .milliseconds(Int64((timeout * 1_000).rounded()))
        let job = SendJob(
            template: try template(),
            field: try JSONField.key(jsonKey),
            inputs: input.names,
            isWhole: input.whole,
            skipsEmpty: input.skipEmpty,
            printsReports: printReports,
            failedPath: input.failed,
            showsProgress: StandardError.isTerminal && !options.verbose && !printReports,
            configuration: configuration,
            logger: options.logger
        )
        try await job.run()
    }
}
