import ArgumentParser
import OutboxDelivery
import ToolSupport

/// `kafka-delivery outbox`: what a person does with an outbox.
struct OutboxCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "outbox",
        abstract: "Sets an outbox up, publishes it to Kafka, shows what waits, and decides about parked events.",
        discussion: """
            The database is named by a URL, with --database or in $OUTBOX_DATABASE_URL:

              postgres://user@host:5432/shop        passwords come from $PGPASSWORD or ~/.pgpass, TLS from sslmode=…
              sqlite:/var/lib/shop/shop.db          where the tool was built with the trait SQLite; only "migrate" makes a new file,
                                                    and none of them changes the file's journal mode

              kafka-delivery outbox migrate
              kafka-delivery outbox publish --bootstrap-servers localhost:9092
              kafka-delivery outbox status
              kafka-delivery outbox parked
              kafka-delivery outbox resume --key 42
            """,
        subcommands: [
            OutboxMigrateCommand.self, OutboxSQLCommand.self, OutboxPublishCommand.self, OutboxStatusCommand.self,
            OutboxParkedCommand.self, OutboxResumeCommand.self, OutboxDiscardCommand.self,
        ]
    )
}

struct OutboxMigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Creates the outbox's tables, or brings them to this version's; does nothing where they are."
    )

    @OptionGroup
    var options: OutboxOptions

    func run() async throws {
        let numbers = try await options.withOutbox(isNew: true) { outbox in
            try await outbox.administration.migrate()
        }
        if numbers.isEmpty {
            StandardOutput.print("the tables are up to date")
        } else {
            StandardOutput.print(
                "ran \(count(numbers.count, "migration")): \(numbers.map(String.init).joined(separator: ", "))"
            )
        }
    }
}

struct OutboxSQLCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sql",
        abstract: "Prints the migrations, for other tools that migrate. Connects to nothing."
    )

    @OptionGroup
    var options: OutboxOptions

    func run() async throws {
        StandardOutput.print(try options.script())
    }
}
