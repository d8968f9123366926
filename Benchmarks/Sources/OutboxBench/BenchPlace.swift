import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import OutboxDelivery
import OutboxKafka
import OutboxPostgres
import OutboxTesting
import Synchronization

/// The servers that are measured on.
final class BenchPlace: Sendable {
    let url: String
    let servers: [String]
    let topic: String
    private let postgres: PostgresServer?
    private let kafka: MockCluster?

    init() async throws {
        let environment = ProcessInfo.processInfo.environment
        postgres = environment["POSTGRES_URL"] == nil ? try await PostgresServer.start(["fsync": "on"]) : nil
        kafka = environment["KAFKA_BOOTSTRAP_SERVERS"] == nil ? try MockCluster() : nil
        let address = environment["POSTGRES_URL"] ?? postgres?.url ?? ""
        url = address + (address.contains("?") ? "&" : "?") + "options=-csearch_path%3Doutbox_bench"
        servers =
            environment["KAFKA_BOOTSTRAP_SERVERS"].map { $0.split(separator: ",").map(String.init) }
            ?? kafka?.bootstrapServers ?? []
        topic = "outbox-bench-" + String(UInt32.random(in: .min ... .max), radix: 36)
        try kafka?.createTopic(topic, partitions: 4)
    }

    /// - Parameter flushDelay: How much longer each flush of the log takes, in microseconds, as on a slower disk (PostgreSQL's
    ///   `commit_delay`, which only a superuser sets).
    func connect(prepared: Int = 0, flushDelay: Int = 0) async throws -> LibpqConnection {
        var settings = LibpqSettings(url)
        settings.maximumPreparedStatements = prepared
        settings.answerTimeout = .seconds(600)
        let connection = try await LibpqConnection.open(settings)
        if flushDelay > 0 {
            try await connection.query(
                OutboxStatement(
                    "SELECT set_config('commit_delay', $1, false), set_config('commit_siblings', '0', false)",
                    [.text(String(flushDelay))]
                )
            )
        }
        return connection
    }

    func outbox() throws -> PostgresOutbox { try PostgresOutbox(.init(LibpqSettings(url))) }

    func reset() async throws {
        let connection = try await connect()
        try await connection.query(OutboxStatement("DROP SCHEMA IF EXISTS outbox_bench CASCADE"))
        try await connection.query(OutboxStatement("CREATE SCHEMA outbox_bench"))
        await connection.close()
        let outbox = try outbox()
        try await outbox.migrate()
        await outbox.close()
    }

    /// So many rows of 200 bytes, of 10,000 keys.
    func fill(_ connection: LibpqConnection, _ count: Int) async throws {
        try await insert(connection, count)
        try await connection.query(OutboxStatement("VACUUM ANALYZE outbox"), within: .seconds(600))
    }

    func insert(_ connection: LibpqConnection, _ count: Int) async throws {
        try await connection.query(
            OutboxStatement(
                """
                INSERT INTO outbox (idempotency_key, topic, key, payload)
                SELECT md5(n::text), $1, convert_to('key ' || n % 10000, 'UTF8'), convert_to(repeat('x', 200), 'UTF8')
                FROM generate_series(1, $2::int) n
                """,
                [.text(topic), .integer(Int64(count))]
            ),
            within: .seconds(600)
        )
    }

    func destination() throws -> KafkaOutboxDestination {
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        return try KafkaOutboxDestination(.init(bootstrapServers: servers), logger: logger)
    }

    func close() async {
        await postgres?.shutdown()
        await kafka?.shutdown()
    }
}

/// Counts what another destination confirms, and notes when.
final class Confirmations: OutboxDestination {
    private struct State {
        var count = 0
        var times: [String: ContinuousClock.Instant] = [:]
        /// Keys and numbers, in the order of their confirmations.
        var order: [(key: [UInt8], number: Int64)] = []
        var waiters: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let target: any OutboxDestination
    private let notesTimes: Bool
    private let notesOrder: Bool
    private let state = Mutex(State())

    init(_ target: any OutboxDestination, notesTimes: Bool = false, notesOrder: Bool = false) {
        self.target = target
        self.notesTimes = notesTimes
        self.notesOrder = notesOrder
    }

    func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
        let outcomes = await target.publish(batch)
        let now = ContinuousClock.now
        let ready = state.withLock { state in
            // Events where they are: to copy each would cost as much as a part of what is measured.
            for index in batch.indices where outcomes[index].isAccepted {
                state.count += 1
                if notesTimes { state.times[batch[index].message.idempotencyKey] = now }
                if notesOrder, let key = batch[index].message.key { state.order.append((key, batch[index].id.number)) }
            }
            let ready = state.waiters.filter { $0.count <= state.count }
            state.waiters.removeAll { $0.count <= state.count }
            return ready
        }
        for waiter in ready { waiter.continuation.resume() }
        return outcomes
    }

    var times: [String: ContinuousClock.Instant] { state.withLock { $0.times } }

    /// How many came after one with their key and a larger number. Looked at afterwards, for that takes longer than some sends.
    var disordered: Int {
        var last: [[UInt8]: Int64] = [:]
        var count = 0
        for (key, number) in state.withLock({ $0.order }) {
            if let before = last[key], before > number { count += 1 }
            last[key] = number
        }
        return count
    }

    func wait(for count: Int) async {
        await withCheckedContinuation { continuation in
            let isThere = state.withLock { state in
                if state.count < count { state.waiters.append((count, continuation)) }
                return state.count >= count
            }
            if isThere { continuation.resume() }
        }
    }
}
