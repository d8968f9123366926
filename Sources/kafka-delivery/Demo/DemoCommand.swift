import ArgumentParser
import KafkaDelivery
import KafkaDeliveryTesting
import ToolSupport

struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract:
            "Sends real earthquakes, sees each confirmed, reads them back, acknowledges them; and redrives one that failed.",
        discussion: """
            Without an address it starts a mock cluster in its own process, so that nothing has to be installed and \
            nothing is left behind. With one it writes to the topics earthquakes and earthquakes-dlt of that cluster, and \
            reads for the group kafka-delivery-demo.

              kafka-delivery demo
              kafka-delivery demo --bootstrap-servers localhost:9092

            Exit status: 0 when every event was confirmed and came back exactly once, and the one that failed was \
            redriven and handled; 1 when not; 64 when the command \
            line is wrong, 130 or 143 when a signal ended it.
            """
    )

    @Option(
        name: [.customShort("b"), .long],
        help: ArgumentHelp(
            "Use this cluster: host:port, several with commas. Default: a mock cluster of its own.",
            valueName: "servers"
        )
    )
    var bootstrapServers: String?

    @OptionGroup
    var client: ClientOptions

    @Option(
        help: ArgumentHelp("Other events: JSON, one a line, with the key in the field id.", valueName: "file"),
        completion: .file()
    )
    var file: String?

    func run() async throws {
        guard let path = file ?? DemoData.bundledPath else {
            throw ToolFailure("\(DemoData.fileName) is not beside the program any more: name it with --file")
        }
        let lines = try await DemoData.lines(of: path)
        // From the option alone: a demo should not write to a cluster that is named for other purposes.
        let given = try bootstrapServers.map { list in try ClusterOptions.servers(in: list) }
        try await withInterruption { interruption in
            let cluster = given == nil ? try MockCluster() : nil
            try cluster?.createTopic(Demo.topic, partitions: 3)
            try cluster?.createTopic(Demo.deadLetterTopic, partitions: 3)
            let servers = given ?? cluster?.bootstrapServers ?? []
            let demo = Demo(
                lines: lines,
                path: path,
                isMock: cluster != nil,
                producer: try producerConfiguration(servers),
                consumer: try consumerConfiguration(servers),
                redrive: try redriveConfiguration(servers),
                logger: client.logger
            )
            let running = Task { try await demo.run() }
            interruption.onSignal { running.cancel() }
            let result = await running.result
            await cluster?.shutdown()
            if let status = interruption.status, case .failure = result {
                throw ToolFailure("interrupted", status: status)
            }
            try result.get()
        }
    }

    private func producerConfiguration(_ servers: [String]) throws(ToolFailure) -> KafkaProducer.Configuration {
        var configuration = KafkaProducer.Configuration(bootstrapServers: servers)
        configuration.messageTimeout = .seconds(30)
        configuration.additionalProperties = try client.properties.applied {
            property throws(ToolFailure) in try configuration.take(property)
        }
        return configuration
    }

    private func consumerConfiguration(_ servers: [String]) throws(ToolFailure) -> KafkaConsumer.Configuration {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: servers,
            group: Demo.group,
            topics: [Demo.topic]
        )
        configuration.additionalProperties = try client.properties.applied {
            property throws(ToolFailure) in try configuration.take(property)
        }
        return configuration
    }

    private func redriveConfiguration(_ servers: [String]) throws(ToolFailure) -> KafkaRedrive.Configuration {
        let consumer = try consumerConfiguration(servers)
        var configuration = KafkaRedrive.Configuration(bootstrapServers: servers, topic: Demo.deadLetterTopic)
        configuration.clientID = consumer.clientID
        configuration.sessionTimeout = consumer.sessionTimeout
        configuration.heartbeatInterval = consumer.heartbeatInterval
        configuration.additionalProperties = consumer.additionalProperties
        return configuration
    }
}
