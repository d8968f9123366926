import Logging
import OutboxDelivery
import OutboxPostgres

/// An outbox in a schema of a test's own, and a connection that writes to it.
struct TestOutbox {
    let database: TestDatabase
    let outbox: PostgresOutbox
    let writer: LibpqConnection

    static func make(
        on database: TestDatabase? = nil,
        _ configure: (inout PostgresOutbox.Configuration) -> Void = { _ in }
    ) async throws -> TestOutbox {
        let own = if let database { database } else { try await TestDatabase.make() }
        var configuration = try PostgresOutbox.Configuration(own.settings)
        configure(&configuration)
        let outbox = try PostgresOutbox(configuration)
        try await outbox.migrate()
        return TestOutbox(database: own, outbox: outbox, writer: try await own.connect())
    }

    func publisher(
        _ destination: any OutboxDestination,
        _ configure: (inout OutboxPublisher.Configuration) -> Void = { _ in }
    ) -> OutboxPublisher {
        publisher(["kafka": destination], configure)
    }

    func publisher(
        _ destinations: [String: any OutboxDestination],
        _ configure: (inout OutboxPublisher.Configuration) -> Void = { _ in }
    ) -> OutboxPublisher {
        var configuration = OutboxPublisher.Configuration()
        configuration.retry.delay = .milliseconds(5)
        configure(&configuration)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return OutboxPublisher(store: outbox, destinations: destinations, configuration: configuration, logger: logger)
    }

    func write(_ messages: OutboxMessage...) async throws {
        for message in messages { try await writer.query(outbox.table.insert(message)) }
    }

    func count(_ table: String = "outbox") async throws -> Int {
        let rows = try await writer.query(OutboxStatement("SELECT count(*) FROM \(table)"))
        return Int(rows.integer(0, 0) ?? -1)
    }

    /// Waits until a query's first value is what it should be.
    func wait(until expected: Int64, _ query: String) async throws {
        while try await writer.query(OutboxStatement(query)).integer(0, 0) != expected {
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    func close() async {
        await writer.close()
        await outbox.close()
    }
}

/// Runs a publisher while `body` runs.
func running<Value>(_ publishers: OutboxPublisher..., body: () async throws -> Value) async throws -> Value {
    let tasks = publishers.map { publisher in Task { try await publisher.run() } }
    do {
        let value = try await body()
        for publisher in publishers { await publisher.close(within: .seconds(10)) }
        for task in tasks { try await task.value }
        return value
    } catch {
        for publisher in publishers { await publisher.close(within: .zero) }
        throw error
    }
}
