import ArgumentParser
import KafkaDelivery
import Logging
import ToolSupport

/// What every command that cannot do without a cluster takes.
struct ClusterOptions: ParsableArguments {
    static let serversVariable = "KAFKA_BOOTSTRAP_SERVERS"

    @Option(
        name: [.customShort("b"), .long],
        help: ArgumentHelp(
            "Where to find the cluster: host:port, several with commas. Default: $KAFKA_BOOTSTRAP_SERVERS.",
            valueName: "servers"
        )
    )
    var bootstrapServers: String?

    @OptionGroup
    var client: ClientOptions

    /// The addresses, from the option or else the environment.
    func servers(environment: String? = Platform.environment(serversVariable)) throws(ToolFailure) -> [String] {
        guard let list = bootstrapServers ?? (environment?.isEmpty == true ? nil : environment) else {
            throw ToolFailure(
                """
                no cluster is named: give --bootstrap-servers HOST:PORT or set \(Self.serversVariable) \
                ("kafka-delivery broker" starts a mock cluster to try things with)
                """,
                status: ExitCode.validationFailure.rawValue
            )
        }
        return try Self.servers(in: list)
    }

    /// The addresses in a list with commas.
    static func servers(in list: String) throws(ToolFailure) -> [String] {
        let servers = list.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimming(" ") }
        guard servers.allSatisfy({ !$0.isEmpty }) else {
            throw ToolFailure(
                "\"\(list)\" is no list of addresses: host:port, several with commas, are needed",
                status: ExitCode.validationFailure.rawValue
            )
        }
        return servers
    }
}

/// What every command that talks to a cluster takes.
struct ClientOptions: ParsableArguments {
    @Option(
        name: [.customShort("X")],
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A property of librdkafka, for instance -X security.protocol=SASL_SSL; can be repeated.",
            valueName: "property=value"
        )
    )
    var properties: [Property] = []

    @Flag(
        name: [.short, .long],
        help: "Write log lines to standard error; -X debug=… writes them, and librdkafka's own, too."
    )
    var verbose = false

    /// Whether librdkafka is to say what it does, which is asked for to be read.
    private var debugs: Bool { properties.contains { $0.name == "debug" && !$0.value.isEmpty } }

    /// Whether log lines are written. No status line is drawn between them.
    var writesLog: Bool { verbose || debugs }

    /// Log lines for those who ask for them; what goes wrong is told by the command itself.
    var logger: Logger { logger(otherwise: SwiftLogNoOpLogHandler()) }

    /// Log lines for those who ask for them, and for others what is in the way.
    var troubleLogger: Logger { logger(otherwise: TroubleLog()) }

    private func logger(otherwise handler: any LogHandler) -> Logger {
        guard writesLog else { return Logger(label: "kafka-delivery") { _ in handler } }
        var logger = Logger(label: "kafka-delivery") { StreamLogHandler.standardError(label: $0) }
        // librdkafka's debugging lines are trace lines of the library's logger.
        logger.logLevel = debugs ? .trace : .debug
        return logger
    }
}

/// `property=value`, as given with `-X`.
struct Property: ExpressibleByArgument, Equatable {
    let name: String
    let value: String

    init?(argument: String) {
        guard let equals = argument.firstIndex(of: "="), equals > argument.startIndex else { return nil }
        self.name = argument[..<equals].trimming(" ")
        self.value = String(argument[argument.index(after: equals)...])
    }
}

extension [Property] {
    /// The properties one by one: `take` those that have a setting of their own, the rest as they are.
    func applied(_ take: (Property) throws(ToolFailure) -> Bool) throws(ToolFailure) -> KafkaAdditionalProperties {
        var rest = KafkaAdditionalProperties()
        for property in self where try !take(property) { rest[property.name] = property.value }
        return rest
    }
}

extension Property {
    /// Refuses what an option of the tool says better.
    func refused(inFavourOf option: String) -> ToolFailure {
        ToolFailure("-X \(name): use \(option)", status: ExitCode.validationFailure.rawValue)
    }

    func integer() throws(ToolFailure) -> Int {
        guard let number = Int(value) else {
            throw ToolFailure("-X \(name)=\(value): a whole number is needed", status: 64)
        }
        return number
    }

    func milliseconds() throws(ToolFailure) -> Duration {
        .milliseconds(try integer())
    }

    func choice<Choice: RawRepresentable<String>>(_ type: Choice.Type) throws(ToolFailure) -> Choice {
        guard let choice = Choice(rawValue: value) else {
            throw ToolFailure("-X \(name)=\(value): there is no such choice", status: 64)
        }
        return choice
    }
}
