import Foundation
import OutboxDelivery
import OutboxPostgres
import OutboxTesting

/// A schema of a test's own, on a server that all tests share: one of theirs, or the one that POSTGRES_URL names.
struct TestDatabase {
    let url: String
    let schema: String

    /// Without the schema in it: a server that tests which restart nothing share.
    private static let shared = Task { () async throws -> (url: String, server: PostgresServer?) in
        if let url = ProcessInfo.processInfo.environment["POSTGRES_URL"] { return (url, nil) }
        let server = try await PostgresServer.start()
        return (server.url, server)
    }

    static func make() async throws -> TestDatabase {
        try await make(on: shared.value.url)
    }

    static func make(on url: String) async throws -> TestDatabase {
        let schema = "t" + String(UInt64.random(in: .min ... .max), radix: 36)
        let connection = try await LibpqConnection.open(LibpqSettings(url))
        try await connection.query(OutboxStatement("CREATE SCHEMA \(schema)"))
        await connection.close()
        return TestDatabase(url: url, schema: schema)
    }

    var settings: LibpqSettings {
        LibpqSettings(url + (url.contains("?") ? "&" : "?") + "options=-csearch_path%3D" + schema)
    }

    func connect() async throws -> LibpqConnection {
        var settings = settings
        // Longer than any machine is busy with something else.
        settings.cancelTimeout = .seconds(100)
        return try await LibpqConnection.open(settings)
    }
}
