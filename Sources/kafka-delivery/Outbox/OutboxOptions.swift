import ArgumentParser
package import OutboxDelivery
import OutboxPostgres
package import ToolSupport

#if SQLite
    import Foundation
    import GRDB
    import OutboxSQLite
#endif

/// Which outbox.
struct OutboxOptions: ParsableArguments {
    static let variable = "OUTBOX_DATABASE_URL"

    @Option(
        help: ArgumentHelp(
            "The database: postgres://… or sqlite:PATH. Default: $OUTBOX_DATABASE_URL.",
            valueName: "url"
        )
    )
    var database: String?

    @Option(
        help: ArgumentHelp(
            "The schema of the tables (PostgreSQL). Default: where the connection looks first.",
            valueName: "name"
        )
    )
    var schema: String?

    @Option(help: ArgumentHelp("What the tables' names begin with.", valueName: "name"))
    var prefix: String = "outbox"

    /// The address, which is never printed: it may have a password.
    private func address(environment: String? = Platform.environment(variable)) throws(ToolFailure) -> String {
        guard let address = database ?? environment, !address.isEmpty else {
            throw ToolFailure(
                "no database is named: give --database postgres://… or set \(Self.variable)",
                status: ToolFailure.usageStatus
            )
        }
        return address
    }

    private static func unusable(_ address: String) -> ToolFailure {
        ToolFailure(
            address.hasPrefix("sqlite:")
                ? "this kafka-delivery was built without SQLite: build it with --traits SQLite"
                : "the database's address is of no kind that is known: postgres://… or sqlite:PATH are",
            status: ToolFailure.usageStatus
        )
    }

    private static func isPostgres(_ address: String) -> Bool {
        address.hasPrefix("postgres://") || address.hasPrefix("postgresql://")
    }

    private func postgres(_ address: String) throws -> PostgresOutbox.Configuration {
        var settings = LibpqSettings(address)
        settings.applicationName = "kafka-delivery outbox"
        var configuration = try PostgresOutbox.Configuration(settings)
        configuration.table = try OutboxTable(.postgresql, schema: schema, prefix: prefix)
        return configuration
    }

    /// An outbox, whatever the database.
    struct Opened {
        let administration: any OutboxAdministration
        let store: any OutboxStore
        let close: () async -> Void
    }

    /// Opens the outbox while `body` runs.
    ///
    /// - Parameter isNew: Whether a database that is not there is made.
    func withOutbox<Value>(isNew: Bool = false, _ body: (Opened) async throws -> Value) async throws -> Value {
        let outbox = try open(isNew: isNew)
        do {
            let value = try await body(outbox)
            await outbox.close()
            return value
        } catch {
            await outbox.close()
            // What the command line names could be opened: what is wrong now is the database's.
            if let error = error as? OutboxError { throw ToolFailure(error.toolFailure.sentence) }
            throw error
        }
    }

    private func open(isNew: Bool) throws -> Opened {
        let address = try address()
        if Self.isPostgres(address) {
            let outbox = try PostgresOutbox(postgres(address))
            return Opened(administration: outbox, store: outbox) { await outbox.close() }
        }
        #if SQLite
            if let path = try Self.path(address) {
                var configuration = SQLiteOutbox.Configuration()
                configuration.prefix = prefix
                guard isNew || FileManager.default.fileExists(atPath: path) else {
                    throw ToolFailure("there is no database \(path.withoutControls)", status: ToolFailure.usageStatus)
                }
                let outbox = try SQLiteOutbox(DatabaseQueue(path: path, configuration: Self.settings), configuration)
                return Opened(administration: outbox, store: outbox) {}
            }
        #endif
        throw Self.unusable(address)
    }

    #if SQLite
        /// A service writes beside the tool, which waits for it. A queue and no pool: that would switch the service's file to
        /// another journal mode for good.
        static var settings: GRDB.Configuration {
            var settings = GRDB.Configuration()
            settings.busyMode = .timeout(10)
            return settings
        }

        /// The file that an address names; nil where it is none of SQLite's.
        ///
        /// - Throws: ``ToolFailure`` where SQLite may take it for a database that is gone with the command: nothing,
        ///   `:memory:`, and a URI (`file:x?mode=memory`), where it is built to read those.
        private static func path(_ address: String) throws(ToolFailure) -> String? {
            guard address.hasPrefix("sqlite:") else { return nil }
            let rest = address.dropFirst("sqlite:".count)
            let path = String(rest.hasPrefix("//") ? rest.dropFirst(2) : rest)
            guard !path.isEmpty, path != ":memory:", !path.utf8.starts(with: "file:".utf8) else {
                throw ToolFailure(
                    "the database's address names no file that stays: give a path, as in sqlite:/var/lib/shop/shop.db",
                    status: ToolFailure.usageStatus
                )
            }
            return path
        }
    #endif

    /// The migrations as a script.
    func script() throws -> String {
        let address = try address()
        if Self.isPostgres(address) { return PostgresMigrations.script(try postgres(address).table) }
        #if SQLite
            if address.hasPrefix("sqlite:") {
                var configuration = SQLiteOutbox.Configuration()
                configuration.prefix = prefix
                let outbox = try SQLiteOutbox(DatabaseQueue(), configuration)
                return outbox.migrations().map { $0 + ";" }.joined(separator: "\n\n")
            }
        #endif
        throw Self.unusable(address)
    }
}

extension OutboxError: ToolFailureConvertible {
    /// What happened, as the tool's user is told it.
    package var toolFailure: ToolFailure {
        ToolFailure("\(reason)\(code.map { " (\($0))" } ?? "")", status: kind == .invalidConfiguration ? 64 : 1)
    }
}
