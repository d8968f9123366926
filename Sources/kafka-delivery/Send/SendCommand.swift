import ArgumentParser
import KafkaDelivery
import ToolSupport

struct SendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send",
        abstract: "Sends lines or files as messages, and sees each of them confirmed.",
        discussion: """
            Each line of the files, or of standard input, becomes the value of one message, byte for byte; its \
            end (\\n or \\r\\n) is not part of it. A line counts as sent when the brokers have said where it is stored.

              kafka-delivery send events events.jsonl --json-key id
              tail -f app.log | kafka-delivery send logs
              printf '42\\tthree apples\\n' | kafka-delivery send orders --key-separator '\\t'
              kafka-delivery send pictures --whole *.png

            A message has at most 1 MB, or -X message.max.bytes=BYTES; with --whole that is a file.

            Nothing is lost where messages are not confirmed: --failed FILE gets their lines as they were in the \
            input, to be sent again.

              kafka-delivery send events events.jsonl --json-key id --failed failed.jsonl

            Lines travel together, and a broker refuses them together where one is not possible, or where they are too \
            large for the topic. They are then sent again one by one, and only the one that is at fault fails; they are \
            stored after lines that follow them. -X batch.size=BYTES makes fewer of them travel together.

            On SIGINT or SIGTERM reading stops, what was read is sent if that is possible within 5 seconds, and what \
            was not is named. A second signal ends the process at once.

            Exit status: 0 when every message was confirmed, 1 when any was not, 64 when the command line is \
            wrong, 130 or 143 when a signal ended it before all was read and confirmed.
            """
    )

    @OptionGroup(title: "Cluster")
    var cluster: ClusterOptions

    @Argument(help: "The topic.")
    var topic: String

    @OptionGroup
    var input: SendInput

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "What is before the first SEP in a line is the key, what is after it the value. \\t, \\n and \\xHH are known.",
            valueName: "sep"
        )
    )
    var keySeparator: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            """
            The key is this field of the line, which is JSON: text as it is, numbers as written. A path such as \
            properties.id leads further in. A line without the field counts as failed.
            """,
            valueName: "field"
        )
    )
    var jsonKey: String?

    @Option(parsing: .unconditional, help: "The key of every message.")
    var key: String?

    @Option(
        parsing: .unconditional,
        help: "The partition of every message. Otherwise the key decides, as with Java's clients."
    )
    var partition: Int?

    @Option(
        name: [.customShort("H"), .long],
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A header of every message; without = its value is null. Can be repeated.",
            valueName: "name=value"
        )
    )
    var header: [String] = []

    @Flag(help: "Send empty values as null (tombstones).")
    var tombstones = false

    @Flag(
        help: """
            Do without the idempotent producer: a retry after a lost answer may then store a message twice, or late.
            """
    )
    var noIdempotence = false

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Wait so long for more messages before a request is sent.", valueName: "ms")
    )
    var linger: Double = 0

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Give a message up that is not confirmed within this time.", valueName: "seconds")
    )
    var timeout: Double = 120

    @Flag(
        help: """
            Write "topic partition offset" for each message to standard output, in the order of the input; \
            "topic - -" for one that is not confirmed.
            """
    )
    var printReports = false

    func validate() throws {
        guard !topic.isEmpty else { throw ValidationError("The topic is empty.") }
        guard [keySeparator, jsonKey, key].compactMap(\.self).count <= 1 else {
            throw ValidationError("Give one of --key-separator, --json-key and --key: a message has one key.")
        }
        if let partition, !(0...Int(Int32.max)).contains(partition) {
            throw ValidationError("--partition \(partition): partitions are numbered from 0.")
        }
        guard (0...900_000).contains(linger) else {
            throw ValidationError("--linger \(linger): 0 to 900000 milliseconds are possible.")
        }
        guard (0.001...2_147_483).contains(timeout) else {
            throw ValidationError("--timeout \(timeout): 0.001 to 2147483 seconds are possible.")
        }
        guard linger <= timeout * 1000 else {
            throw ValidationError("--linger \(linger) ms is longer than --timeout \(timeout) s.")
        }
        _ = try template()
    }

    func template() throws -> MessageTemplate {
        var template = MessageTemplate(topic: topic, partition: partition, hasTombstones: tombstones)
        template.headers = KafkaHeaders(
            header.map { header in
                guard let equals = header.firstIndex(of: "=") else { return KafkaHeader(header, nil) }
                return KafkaHeader(String(header[..<equals]), String(header[header.index(after: equals)...]))
            }
        )
        if let key { template.key = .fixed(key) }
        if let keySeparator {
            guard let separator = try? Escapes.bytes(of: keySeparator), !separator.isEmpty else {
                throw ValidationError("--key-separator \"\(keySeparator)\": text, \\t, \\n and \\xHH are possible.")
            }
            template.key = .before(separator: separator)
        }
        if let field = try JSONField.key(jsonKey) { template.key = .field(field) }
        return template
    }

    func producerConfiguration() throws(ToolFailure) -> KafkaProducer.Configuration {
        var configuration = KafkaProducer.Configuration(bootstrapServers: try cluster.servers())
        configuration.idempotence = !noIdempotence
        configuration.linger = .microseconds(Int64(linger * 1000))
        configuration.messageTimeout = .milliseconds(Int64((timeout * 1000).rounded()))
        configuration.additionalProperties = try cluster.client.properties.applied {
            property throws(ToolFailure) in try configuration.take(property)
        }
        if configuration.idempotence, configuration.acknowledgements != .all {
            throw ToolFailure("-X acks=\(configuration.acknowledgements.rawValue) needs --no-idempotence", status: 64)
        }
        return configuration
    }

    func run() async throws {
        let job = SendJob(
            template: try template(),
            inputs: input.names,
            isWhole: input.whole,
            skipsEmpty: input.skipEmpty,
            printsReports: printReports,
            failedPath: input.failed,
            // Log lines and a line that is drawn over and over do not go together.
            mayShowProgress: !cluster.client.writesLog,
            configuration: try producerConfiguration(),
            logger: cluster.client.troubleLogger
        )
        try await job.run()
    }
}

extension KafkaProducer.Configuration {
    /// Sets the property where it has a setting of its own; false where it is one of librdkafka's others.
    mutating func take(_ property: Property) throws(ToolFailure) -> Bool {
        switch property.name {
        case "bootstrap.servers", "metadata.broker.list": throw property.refused(inFavourOf: "--bootstrap-servers")
        case "linger.ms", "queue.buffering.max.ms": throw property.refused(inFavourOf: "--linger")
        case "message.timeout.ms", "delivery.timeout.ms": throw property.refused(inFavourOf: "--timeout")
        case "enable.idempotence": throw property.refused(inFavourOf: "--no-idempotence")
        case "client.id": clientID = property.value
        case "compression.type", "compression.codec": compression = try property.choice(Compression.self)
        case "acks", "request.required.acks":
            acknowledgements = property.value == "-1" ? .all : try property.choice(Acknowledgements.self)
        case "batch.size": maximumBatchBytes = try property.integer()
        case "message.max.bytes": maximumMessageBytes = try property.integer()
        case "max.in.flight", "max.in.flight.requests.per.connection":
            maximumInFlightRequests = try property.integer()
        case "queue.buffering.max.messages": maximumBufferedMessages = try property.integer()
        case "queue.buffering.max.kbytes":
            let (bytes, isTooMuch) = try property.integer().multipliedReportingOverflow(by: 1024)
            maximumBufferedBytes = isTooMuch ? .max : bytes
        default: return false
        }
        return true
    }
}
