import ArgumentParser
import KafkaDelivery
import ToolSupport

struct ReceiveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "receive",
        abstract: "Writes messages to standard output, and acknowledges each after it is written.",
        discussion: """
            A message is acknowledged once the system has taken all of its bytes; what could not be written is \
            delivered again next time, to the member that reads the partition then.

              kafka-delivery receive events --group me
              kafka-delivery receive events --group me --until-end --format json > events.jsonl
              kafka-delivery receive events --group me --from 2025-11-23T08:00:00Z --count 10
              kafka-delivery receive events --group me --from -10 --until-end
              kafka-delivery receive '^logs-.*' --group me --format '%t [%p] at %o: %k = %s\\n'

            --format value (the default) writes the value and a line feed; a null value is an empty line. \
            --format json writes one object a line: topic, partition, offset, timestamp, key, value and headers; \
            what is not UTF-8 is base64 under key_base64 or value_base64, and null stays null. Any other format is a \
            pattern: %t topic, %p partition, %o offset, %T timestamp in milliseconds, %k key, %K its length, %s value, \
            %S its length (-1 where it is null), %h headers, %% a percent sign, and \\n, \\t, \\r, \\0, \\\\, \\xHH.

            SIGINT and SIGTERM end it in good order: what is written is acknowledged and committed. A second signal \
            ends the process at once.

            Exit status: 0 when it ended as asked, by a signal where no end was asked for, or because its output is not \
            read any more; 1 when the output could not be written, the cluster refused, or messages that were \
            acknowledged could not be committed before their partition went to another member; 64 when the command line is \
            wrong; 130 or 143 when SIGINT or SIGTERM came before the end that --until-end or --count asked for.
            """
    )

    @OptionGroup(title: "Cluster")
    var cluster: ClusterOptions

    @Argument(help: "The topics; one that begins with ^ is a regular expression.")
    var topics: [String]

    @Option(
        name: .shortAndLong,
        help: "The group. Its members share the topics, and it remembers what was acknowledged. Required."
    )
    var group: String?

    @Option(
        name: .shortAndLong,
        parsing: .unconditional,
        help: ArgumentHelp("value, json, or a pattern such as '%t %p %o %s\\n'.", valueName: "format")
    )
    var format: String = "value"

    @Option(name: .shortAndLong, parsing: .unconditional, help: "End after so many messages.")
    var count: Int?

    @Flag(
        name: [.customShort("e"), .long],
        help: """
            End when all partitions of the topics are read to their end: by this member, or, as far as the group has \
            committed, by others. A member that was killed keeps its partitions for its session.timeout.ms, 45 s by \
            default; they are waited for.
            """
    )
    var untilEnd = false

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            """
            Where to start: committed (where the group was; a new group at the beginning), beginning, end, an \
            offset, -N for the last N of each partition, or a time such as 2025-11-23T08:00:00+01:00 (UTC where no zone \
            is given). A partition that does not hold the offset starts at the end that is nearer, and that is said.
            """,
            valueName: "where"
        )
    )
    var from: Start = Start(value: .committed)

    @Option(
        help: ArgumentHelp(
            "Which messages of transactions to deliver: committed, or uncommitted for all.",
            valueName: "which"
        )
    )
    var isolation: IsolationChoice = .committed

    enum IsolationChoice: String, ExpressibleByArgument, CaseIterable {
        case committed
        case uncommitted
    }

    /// The argument of `--from`.
    struct Start: ExpressibleByArgument, Equatable {
        let value: KafkaConsumer.Configuration.Start

        init(value: KafkaConsumer.Configuration.Start) {
            self.value = value
        }

        init?(argument: String) {
            switch argument {
            case "committed": self.value = .committed
            case "beginning": self.value = .beginning
            case "end": self.value = .end
            default:
                if argument.hasPrefix("-") {
                    guard let count = Int64(argument.dropFirst()), count >= 0 else { return nil }
                    self.value = .last(count)
                } else if let offset = Int64(argument) {
                    guard offset >= 0 else { return nil }
                    self.value = .offset(offset)
                } else if let milliseconds = ISO8601.milliseconds(argument) {
                    self.value = .timestamp(KafkaTimestamp(millisecondsSince1970: milliseconds))
                } else {
                    return nil
                }
            }
        }

        var defaultValueDescription: String { "committed" }
    }

    func validate() throws {
        guard let group, !group.isEmpty else {
            throw ValidationError(
                """
                No group is named: give --group NAME. Members of a group share the topics' messages, and the group \
                remembers which are acknowledged; choose a name of your own to get all of them.
                """
            )
        }
        guard topics.allSatisfy({ !$0.isEmpty }) else { throw ValidationError("A topic's name is empty.") }
        if let count, count < 1 { throw ValidationError("--count \(count): 1 or more are possible.") }
        _ = try messageFormat()
    }

    private func messageFormat() throws -> MessageFormat {
        do {
            return try MessageFormat(argument: format)
        } catch {
            throw ValidationError("--format '\(format)': \(error.sentence).")
        }
    }

    func consumerConfiguration() throws(ToolFailure) -> KafkaConsumer.Configuration {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: try cluster.servers(),
            group: group ?? "",
            topics: topics
        )
        configuration.start = from.value
        configuration.isolation = isolation == .committed ? .readCommitted : .readUncommitted
        configuration.additionalProperties = try cluster.client.properties.applied {
            property throws(ToolFailure) in try configuration.take(property)
        }
        return configuration
    }

    func run() async throws {
        let job = ReceiveJob(
            format: try messageFormat(),
            count: count,
            untilEnd: untilEnd,
            showsJoining: StandardError.isTerminal && !cluster.client.writesLog,
            configuration: try consumerConfiguration(),
            logger: cluster.client.logger
        )
        try await job.run()
    }
}

extension KafkaConsumer.Configuration {
    /// Sets the property where it has a setting of its own; false where it is one of librdkafka's others.
    mutating func take(_ property: Property) throws(ToolFailure) -> Bool {
        switch property.name {
        case "bootstrap.servers", "metadata.broker.list": throw property.refused(inFavourOf: "--bootstrap-servers")
        case "group.id": throw property.refused(inFavourOf: "--group")
        case "isolation.level": throw property.refused(inFavourOf: "--isolation")
        case "client.id": clientID = property.value
        case "group.instance.id": groupInstanceID = property.value
        case "auto.offset.reset":
            autoOffsetReset = property.value == "beginning" ? .beginning : try property.choice(AutoOffsetReset.self)
        case "session.timeout.ms": sessionTimeout = try property.milliseconds()
        case "heartbeat.interval.ms": heartbeatInterval = try property.milliseconds()
        case "group.protocol": groupProtocol = try property.choice(GroupProtocol.self)
        case "group.remote.assignor": remoteAssignor = property.value
        case "partition.assignment.strategy":
            assignmentStrategies = try property.value.split(separator: ",").map { name throws(ToolFailure) in
                guard let strategy = AssignmentStrategy(rawValue: name.trimming(" ")) else {
                    throw ToolFailure("-X \(property.name)=\(property.value): there is no such choice", status: 64)
                }
                return strategy
            }
        case "queued.min.messages": prefetch.maximumMessages = try property.integer()
        case "queued.max.messages.kbytes":
            let (bytes, isTooMuch) = try property.integer().multipliedReportingOverflow(by: 1024)
            prefetch.maximumBytes = isTooMuch ? .max : bytes
        case "fetch.wait.max.ms": maximumFetchWait = .milliseconds(try property.integer())
        default: return false
        }
        return true
    }
}
