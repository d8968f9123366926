import ArgumentParser
import KafkaDelivery
import OutboxDelivery
import OutboxKafka
import ToolSupport

struct OutboxPublishCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "publish",
        abstract: "Publishes the outbox's events for the destination \"kafka\", until Ctrl-C.",
        discussion: """
            Several may run at a time, on several machines: they share the keys. At the end a line tells what was published, \
            parked, and left to the next one.

            Exit status: 0 when a signal ended it and nothing was under way any more; 1 when the outbox cannot be published, \
            with the reason, or events were still under way; 64 when the command line is wrong.
            """
    )

    @OptionGroup
    var options: OutboxOptions

    @OptionGroup
    var cluster: ClusterOptions

    @Option(help: ArgumentHelp("The destination's name in the rows.", valueName: "name"))
    var destination: String = "kafka"

    @Option(
        help: ArgumentHelp(
            "How many attempts an event gets that is refused. What has no place is tried for five minutes at least: a missing topic or right.",
            valueName: "number"
        )
    )
    var attempts: Int = 3

    @Option(
        help: ArgumentHelp(
            "Exactly once for readers of committed messages: the outbox's name, the same for all its publishers, which transactional "
                + "ids and groups begin with. A publisher of the same destination without it sends again what is not deleted yet.",
            valueName: "name"
        )
    )
    var exactlyOnce: String?

    @Flag(help: "Park a refused event alone and let its followers overtake it.")
    var skip = false

    func validate() throws {
        guard attempts >= 1 else { throw ValidationError("--attempts \(attempts): 1 or more is possible.") }
        guard !destination.isEmpty else { throw ValidationError("--destination: name one, as the rows do.") }
    }

    func run() async throws {
        var kafka = KafkaProducer.Configuration(bootstrapServers: try cluster.servers())
        kafka.additionalProperties = try cluster.client.properties.applied { _ in false }
        let logger = cluster.client.troubleLogger
        let atLeastOnce = exactlyOnce == nil ? try KafkaOutboxDestination(kafka, logger: logger) : nil
        let target: any OutboxDestination
        if let atLeastOnce {
            target = atLeastOnce
        } else {
            target = try KafkaExactlyOnceDestination(.init(name: exactlyOnce ?? "", producer: kafka), logger: logger)
        }
        let report = try await withInterruption { interruption in
            try await options.withOutbox { outbox in
                var configuration = OutboxPublisher.Configuration()
                configuration.retry.maximumAttempts = attempts
                if skip { configuration.retry.givingUp = .skip }
                let publisher = OutboxPublisher(
                    store: outbox.store,
                    destinations: [destination: target],
                    configuration: configuration,
                    logger: logger
                )
                interruption.onSignal { Task { await publisher.close(within: .seconds(30)) } }
                async let told: Void = tell(publisher)
                try await publisher.run()
                await told
                return await publisher.close()
            }
        }
        await atLeastOnce?.close()
        StandardOutput.print(
            "\(count(report.published, "event")) published, \(report.parked.grouped) parked, "
                + "\(report.abandoned.grouped) under way at the end"
        )
        if report.abandoned > 0 {
            throw ToolFailure(
                "\(count(report.abandoned, "event")) may be delivered, and will be sent again by the next publisher"
            )
        }
    }

    /// What a person should know, on standard error.
    private func tell(_ publisher: OutboxPublisher) async {
        // Why there is no session; told once for as long as it stays the same.
        var trouble: String?
        for await event in publisher.events {
            switch event {
            case .slots(let slots, let publishers):
                trouble = nil
                StandardError.say("publishing \(slots.count) of 32 slots, \(count(publishers, "publisher")) in all")
            case .sessionLost(let error):
                if error.reason != trouble {
                    StandardError.say("no session with the database, trying again: \(error.reason)")
                }
                trouble = error.reason
            case .destinationUnavailable(let name, let reason):
                StandardError.say("\(name) is away, trying again: \(reason)")
            case .destinationAvailable(let name): StandardError.say("\(name) is there again")
            case .placeUnavailable(let place, let name, let reason):
                StandardError.say("\(place) of \(name) is away, trying again: \(reason)")
            case .placeAvailable(let place, let name): StandardError.say("\(place) of \(name) is there again")
            case .parked(let event, let reason, let attempts):
                StandardError.say(
                    "parked event \(event.id.slot)/\(event.id.number) to \(event.message.topic.withoutControls) after "
                        + "\(count(attempts, "attempt")): \(reason.withoutControls)"
                )
            case .unknownDestination(let name):
                StandardError.say(
                    "there are events for \"\(name.withoutControls)\", which this publisher does not have"
                )
            case .maintained(let found):
                if found.foundBelowFloor > 0 {
                    StandardError.say("found \(found.foundBelowFloor) events below the floor")
                }
            }
        }
    }
}
