import ArgumentParser
import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import OutboxDelivery
import OutboxKafka
import OutboxPostgres
import OutboxTesting

/// `scripts/bench outbox`: the outbox on PostgreSQL and Kafka, against what the same work costs without it, in the same run.
@main
struct OutboxBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench outbox",
        abstract: "Measures the outbox against the same work without it.",
        discussion: """
            PostgreSQL is a server of its own that forces commits to disk, or the one that POSTGRES_URL names; Kafka is a mock \
            cluster, or the one that KAFKA_BOOTSTRAP_SERVERS names. Tables are made anew in the schema outbox_bench.
            """
    )

    @Option(help: "How many rows the backlog has.")
    var rows: Int = 100_000

    @Option(help: "How long each measured load goes on, in seconds.")
    var seconds: Int = 5

    @Option(help: "How many rows the backlog for the memory's measurement has; 0 leaves it out.")
    var memoryRows: Int = 1_000_000

    @Option(
        help:
            "How long 2,500 events a second are written beside a long reader, and before that without, in seconds; 0 leaves it out."
    )
    var readerSeconds: Int = 60

    @Option(help: "Measure this alone; may be repeated.")
    var only: [Part] = []

    enum Part: String, ExpressibleByArgument, CaseIterable {
        case backlog, latency, writers, idle, reader, memory
    }

    func run() async throws {
        let place = try await BenchPlace()
        let bench = OutboxMeasurements(place: place, rows: rows, seconds: seconds)
        try await place.reset()
        print("scenario                                             figure      against     ratio")
        let parts = only.isEmpty ? Part.allCases : only
        if parts.contains(.backlog) { try await bench.backlog() }
        if parts.contains(.latency) { try await bench.latency() }
        if parts.contains(.writers) { try await bench.writers() }
        if parts.contains(.idle) { try await bench.idle() }
        if parts.contains(.reader), readerSeconds > 0 { try await bench.longReader(readerSeconds) }
        if parts.contains(.memory), memoryRows > 0 { try await bench.memory(memoryRows) }
        await place.close()
    }
}
