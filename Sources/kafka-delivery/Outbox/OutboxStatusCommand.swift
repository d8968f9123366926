import ArgumentParser
import Foundation
import OutboxDelivery
import ToolSupport

struct OutboxStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows what waits, since when, who publishes it, and how much is parked."
    )

    @OptionGroup
    var options: OutboxOptions

    @Flag(help: "One line of JSON, for programs.")
    var json = false

    func run() async throws {
        let status = try await options.withOutbox { outbox in try await outbox.administration.status() }
        let text = json ? OutboxReport.json(status) : OutboxReport.text(status, columns: Platform.outputColumns)
        StandardOutput.print(text)
    }
}

struct OutboxParkedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "parked",
        abstract: "Shows parked events: those that were refused first, then what waits behind them."
    )

    @OptionGroup
    var options: OutboxOptions

    @Option(help: ArgumentHelp("Only those with this key; \\n, \\t, \\xNN and \\\\ are escapes.", valueName: "key"))
    var key: String?

    @Option(parsing: .unconditional, help: ArgumentHelp("How many at most.", valueName: "number"))
    var limit: Int = 100

    @Flag(help: "A line of JSON for each, for programs.")
    var json = false

    func validate() throws {
        guard limit >= 1 else { throw ValidationError("--limit \(limit): 1 or more are possible.") }
    }

    func run() async throws {
        let bytes = try key.map(OutboxSelection.bytes)
        // One more says whether there are more.
        let number = limit < Int.max ? limit + 1 : limit
        let events = try await options.withOutbox { outbox in
            try await outbox.administration.parked(key: bytes, limit: number)
        }
        if json {
            for event in events.prefix(limit) { StandardOutput.print(OutboxReport.json(event)) }
        } else {
            let text = OutboxReport.parked(events, key: bytes, limit: limit, columns: Platform.outputColumns)
            StandardOutput.print(text)
        }
    }
}

/// Which parked events a decision is about.
struct OutboxSelection: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "All with this key, as \"parked\" shows it; \\n, \\t, \\xNN and \\\\ are escapes.",
            valueName: "key"
        )
    )
    var key: String?

    @Option(help: ArgumentHelp("This one, as \"parked\" shows it.", valueName: "slot/number"))
    var event: String?

    @Flag(help: "All of them.")
    var all = false

    func validate() throws {
        guard [key != nil, event != nil, all].count(where: \.self) == 1 else {
            throw ValidationError("Say which: --key KEY, --event SLOT/NUMBER or --all.")
        }
    }

    static func bytes(_ argument: String) throws(ToolFailure) -> [UInt8] {
        do throws(Escapes.Invalid) {
            return try Escapes.bytes(of: argument)
        } catch {
            throw ToolFailure("--key: \(error.escape) is no escape", status: ToolFailure.usageStatus)
        }
    }

    func selection() throws(ToolFailure) -> OutboxParkedSelection {
        if let key { return .key(try Self.bytes(key)) }
        guard let event else { return .all }
        let parts = event.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let slot = Int(parts[0]), (0..<32).contains(slot), let number = Int64(parts[1]) else {
            throw ToolFailure(
                "--event \(event): a slot of 0 to 31 and a number are needed",
                status: ToolFailure.usageStatus
            )
        }
        return .event(OutboxEvent.ID(slot: slot, number: number))
    }
}

struct OutboxResumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Has parked events sent again, in order, before anything newer with their keys.",
        discussion: "A publisher that runs carries it out, within about a second."
    )

    @OptionGroup
    var options: OutboxOptions

    @OptionGroup
    var which: OutboxSelection

    func run() async throws {
        try await decide(.resume, options, which, "will be sent again")
    }
}

struct OutboxDiscardCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "discard",
        abstract: "Has parked events deleted without sending them.",
        discussion: """
            A publisher that runs carries it out, within about a second. To skip one event, discard it by --event and \
            resume its --key.
            """
    )

    @OptionGroup
    var options: OutboxOptions

    @OptionGroup
    var which: OutboxSelection

    func run() async throws {
        try await decide(.discard, options, which, "will be deleted")
    }
}

private func decide(
    _ action: OutboxParkedAction,
    _ options: OutboxOptions,
    _ which: OutboxSelection,
    _ what: String
) async throws {
    let selection = try which.selection()
    let number = try await options.withOutbox { outbox in try await outbox.administration.decide(action, selection) }
    if number == 0 { throw ToolFailure("nothing that is parked was meant") }
    StandardOutput.print("\(count(number, "event")) \(what)")
}
