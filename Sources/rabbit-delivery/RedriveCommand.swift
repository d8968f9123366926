import ArgumentParser
import RabbitDelivery
import ToolSupport

struct RedriveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redrive",
        abstract: "Sends dead letters again to where they came from.",
        discussion: """
            A letter is acknowledged only when its replay is confirmed; what is left stays in its queue. The messages that are \
            there at the beginning are looked at, and no more.

              rabbit-delivery redrive orders-dead --dry-run
              rabbit-delivery redrive orders-dead --error CardDeclined --rate 50
              rabbit-delivery redrive orders-dead --to-exchange orders --to-key new.fruit

            On SIGINT or SIGTERM it ends when what was sent is confirmed; a second signal ends the process at once. A dry run counts \
            as a failed delivery of each letter in a quorum queue, which may have a delivery limit.

            Exit status: 0 when what was wanted was redriven, up to --count, but for letters that went round too often or whose origin \
            nothing says, which are counted; 1 when any other was not; 64 when the command line is wrong; 130 or 143 when a signal ended \
            it before.
            """
    )

    @OptionGroup(title: "Broker")
    var options: BrokerOptions

    @Argument(help: "The queue with the dead letters.")
    var queue: String

    @Flag(name: [.customShort("n"), .long], help: "Say what would be done, and do nothing.")
    var dryRun = false

    @Option(help: "Only letters whose error, or its type, contains this text.")
    var error: String?

    @Option(help: "Only letters that failed first in this queue.")
    var from: String?

    @Option(help: "Send them to this exchange instead of where they came from; an empty one with --to-key is a queue.")
    var toExchange: String?

    @Option(help: "The routing key, with --to-exchange; without it each letter's own.")
    var toKey: String?

    @Option(parsing: .unconditional, help: "How many letters to send, at most.")
    var count: Int?

    @Option(parsing: .unconditional, help: "How many a second, at most.")
    var rate: Double?

    @Option(parsing: .unconditional, help: "How often a letter may go round.")
    var maximumRedrives: Int = 3

    func validate() throws {
        guard !queue.isEmpty else { throw ValidationError("The queue's name is empty.") }
        guard toExchange != nil || toKey == nil else { throw ValidationError("--to-key needs --to-exchange.") }
        if let count, count < 1 { throw ValidationError("--count \(count): 1 or more are possible.") }
        if let rate, !(rate > 0) { throw ValidationError("--rate \(rate): more than 0 is needed.") }
        guard maximumRedrives >= 1 else { throw ValidationError("--maximum-redrives: 1 or more are possible.") }
    }

    func run() async throws {
        let broker = try options.broker()
        var configuration = RabbitRedrive.Configuration(broker, queue: queue)
        let (error, from, toExchange, toKey) = (error, from, toExchange, toKey)
        configuration.isWanted = { letter in
            let facts = letter.deadLetter
            if let error {
                guard [facts?.error, facts?.errorType].contains(where: { $0?.contains(error) == true }) else {
                    return false
                }
            }
            return from == nil || facts?.queue == from
        }
        if let toExchange {
            configuration.destination = { letter in
                (toExchange, toKey ?? letter.deadLetter?.routingKey ?? letter.routingKey)
            }
        }
        configuration.maximumLetters = count
        configuration.maximumPerSecond = rate
        configuration.maximumRedrives = maximumRedrives
        let redrive = RabbitRedrive(configuration, logger: options.logger)
        let (logger, dryRun) = (options.logger, dryRun)
        let showsProgress = StandardError.isTerminal && !options.verbose
        try await withInterruption { interruption in
            let work = Task {
                try await Self.go(
                    redrive,
                    dryRun ? nil : RabbitPublisher(.init(broker), logger: logger),
                    showsProgress: showsProgress
                )
            }
            interruption.onSignal { work.cancel() }
            do {
                try conclude(try await work.value, interruption)
            } catch let error as RabbitError {
                guard let status = interruption.status, error.kind == .cancelled else { throw ToolFailure(error) }
                throw ToolFailure("interrupted before there was a connection", status: status)
            }
        }
    }

    /// - Parameter publisher: Who sends the replays; nil to look only.
    private static func go(
        _ redrive: RabbitRedrive,
        _ publisher: RabbitPublisher?,
        showsProgress: Bool
    ) async throws(RabbitError) -> RabbitRedrive.Summary {
        guard let publisher else {
            var number = 0
            return try await redrive.preview { letter, decision in
                number += 1
                StandardOutput.print("\(number). \(line(letter, decision))")
            }
        }
        defer { if showsProgress { StandardError.show(status: "") } }
        do throws(RabbitError) {
            var (seen, nextStatus) = (0, ContinuousClock.now)
            let summary = try await redrive.run(through: publisher) { _, _ in
                seen += 1
                guard showsProgress, ContinuousClock.now >= nextStatus else { return }
                nextStatus = .now.advanced(by: .milliseconds(100))
                StandardError.show(status: "\(count(seen, "letter")) looked at")
            }
            await publisher.close()
            return summary
        } catch {
            await publisher.close(within: .seconds(1))
            throw error
        }
    }

    private static func line(_ letter: RabbitConsumer.Delivery, _ decision: RabbitRedrive.Decision) -> String {
        let what =
            switch decision {
            case .send(let exchange, let key, _): "would go to exchange '\(exchange)', key '\(key)'"
            case .unwanted: "stays: not wanted"
            case .tooOften(let times): "stays: went round \(count(times, "time")) already"
            case .noOrigin: "stays: nothing says where it came from"
            }
        let facts = letter.deadLetter
        let why = facts?.error ?? facts?.deaths.first.map { "\($0.reason)" } ?? "no reason given"
        let queue = facts?.queue.map { "\($0): " } ?? ""
        return "\(queue)\(why): \(what)".withoutControls
    }

    private func conclude(_ summary: RabbitRedrive.Summary, _ interruption: Interruption) throws {
        var sentence = "\(count(summary.redriven, "letter")) \(dryRun ? "would be redriven" : "redriven")"
        if summary.left > 0 {
            let reasons = [
                (summary.unwanted, "not wanted"), (summary.tooOften, "too often"),
                (summary.withoutOrigin, "without an origin"), (summary.failed.count, "failed"),
            ]
            sentence += ", \(summary.left.grouped) left: "
            sentence += reasons.filter { $0.0 > 0 }.map { "\($0.0.grouped) \($0.1)" }.joined(separator: ", ")
        }
        if let first = summary.failed.first { sentence += " (\(first))" }
        if summary.isPartial { sentence += "; not all were looked at" }
        if let deliveries = summary.largestDeliveryCount, deliveries > 0 {
            sentence +=
                "; a letter had been delivered \(count(deliveries, "time")) before, which a delivery limit counts"
        }
        if !summary.acknowledgementsReachedBroker {
            sentence += "; the broker has not said that it has all acknowledgements: letters may still be in the queue"
        }
        if summary.isPartial, let status = interruption.status {
            throw ToolFailure(sentence + "; interrupted", status: status)
        }
        // So many as were asked for are all that was wanted.
        let isCut = summary.isPartial && summary.redriven < self.count ?? .max
        if !summary.failed.isEmpty || isCut || !summary.acknowledgementsReachedBroker { throw ToolFailure(sentence) }
        StandardError.say(sentence)
    }

    private func count(_ number: Int, _ noun: String) -> String { Self.count(number, noun) }

    private static func count(_ number: Int, _ noun: String) -> String {
        "\(number.grouped) \(noun)\(number == 1 ? "" : "s")"
    }
}
